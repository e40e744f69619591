//go:build linux

package guest

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfio"
)

const (
	readRounds = 5 // how often the contenders take turns; medians count
	readTime   = 3 // seconds that each reads, at each depth
)

var readDepths = []int{1, 32}

// readers are the ways to one controller: ours, which sleeps for an interrupt where the drive is as slow as here, or spins;
// and the kernel's, with O_DIRECT.
var readers = []reader{
	{"nvme", false, func(t *testing.T, at string, depth int) float64 { return perf(t, "nvme:"+at, "adaptive", depth) }},
	{"nvme, polled", false, func(t *testing.T, at string, depth int) float64 { return perf(t, "nvme:"+at, "poll", depth) }},
	{"aio", true, func(t *testing.T, at string, depth int) float64 { return perf(t, "aio:"+at, "adaptive", depth) }},
	{"aio, polled", true, func(t *testing.T, at string, depth int) float64 { return perf(t, "aio:"+at, "poll", depth) }},
	{"fio", true, fio},
}

type reader struct {
	name   string
	kernel bool // by the kernel's driver: at is a block device, otherwise a controller
	read   func(t *testing.T, at string, depth int) (iops float64)
}

// readRow is one reader at one depth.
type readRow struct {
	name  string
	depth int
}

// TestBenchReads reads 4 KiB at random from one controller by turns.
func TestBenchReads(t *testing.T) {
	list, err := vfio.System().List()
	require.NoError(t, err)
	address, iops := list[0].Address, map[readRow][]float64{}
	round := func(kernel bool, at string) {
		for _, depth := range readDepths {
			for _, r := range readers {
				if _, err := os.Stat("/bin/" + r.name); r.kernel == kernel && (r.name != "fio" || err == nil) {
					iops[readRow{r.name, depth}] = append(iops[readRow{r.name, depth}], r.read(t, at, depth))
				}
			}
		}
	}
	for range readRounds {
		command(t, "blobcli", "nvme", "bind", address)
		round(false, address)
		command(t, "blobcli", "nvme", "unbind", address)
		round(true, "/dev/"+waitForNamespaces(t, vfio.System(), address).Namespaces[0].Name)
	}
	t.Log(readTable(iops))
}

// readTable has the median of each row, and of the rounds' ratios of ours to it.
func readTable(iops map[readRow][]float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "4 KiB random reads, medians of %d rounds\n%5s  %-12s %8s  %-22s %s\n", readRounds, "depth", "", "IOPS", "nvme to it", "nvme, polled, to it")
	for _, depth := range readDepths {
		for _, r := range readers {
			if row := iops[readRow{r.name, depth}]; row != nil {
				fmt.Fprintf(&b, "%5d  %-12s %8.0f  %-22s %s\n", depth, r.name, median(row),
					ratios(iops[readRow{"nvme", depth}], row), ratios(iops[readRow{"nvme, polled", depth}], row))
			}
		}
	}
	return b.String()
}

func ratios(ours, theirs []float64) string {
	list := make([]float64, len(ours))
	for i := range ours {
		list[i] = ours[i] / theirs[i]
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(list), slices.Min(list), slices.Max(list))
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

// perf measures a device with blobcli.
func perf(t *testing.T, device, policy string, depth int) float64 {
	t.Helper()
	var r struct{ IOPS float64 }
	out := command(t, "blobcli", "--format", "json", "-d", device, "bdev", "perf", "--rw", "randread", "--policy", policy,
		"--iodepth", fmt.Sprint(depth), "--time", fmt.Sprintf("%ds", readTime))
	require.NoError(t, json.Unmarshal([]byte(out), &r), out)
	return r.IOPS
}

// fio measures a block device with fio.
func fio(t *testing.T, node string, depth int) float64 {
	t.Helper()
	var r struct {
		Jobs []struct{ Read struct{ IOPS float64 } }
	}
	out := command(t, "fio", "--name=reads", "--filename="+node, "--readonly", "--ioengine=libaio", "--direct=1", "--bs=4k", "--rw=randread",
		"--norandommap", "--time_based", fmt.Sprintf("--runtime=%d", readTime), fmt.Sprintf("--iodepth=%d", depth),
		fmt.Sprintf("--iodepth_batch_complete_max=%d", depth), "--output-format=json")
	require.NoError(t, json.Unmarshal([]byte(out), &r), out)
	return r.Jobs[0].Read.IOPS
}

// policies are how ours waits: as it does by default, or spinning.
var policies = []string{"", "?policy=poll"}

// TestBenchFillSync writes durably with both engines by turns: ours on the drive, Pebble on an ext4 on the kernel's driver.
func TestBenchFillSync(t *testing.T) {
	for _, options := range policies {
		versus(t, options, "--benchmarks", "fillsync", "--duration", "4s", "--runs", "3", "--destroy")
	}
}

// TestBenchReadRandom reads at random from stores that are larger than the memory of each engine.
func TestBenchReadRandom(t *testing.T) {
	require.NoError(t, unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""))
	require.NoError(t, os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0))
	// Filled in order and not compressed: compactions and compression would take minutes on emulated processors.
	stores := []string{"--memory", "144MiB", "--write_buffer_size", "1MiB", "--value_size", "4000", "--num", "50000",
		"--compression_type", "none"}
	versus(t, "", append(stores, "--benchmarks", "fillseq")...)
	for _, options := range policies {
		versus(t, options, append(stores, "--benchmarks", "readrandom", "--use_existing_db", "--duration", "4s", "--runs", "3")...)
	}
}

// versus runs kvbench with both engines and shows what it printed. Options are those of our device.
func versus(t *testing.T, options string, args ...string) {
	t.Helper()
	list, err := vfio.System().List()
	require.NoError(t, err)
	require.Len(t, list, 2)
	node := "/dev/" + waitForNamespaces(t, vfio.System(), list[1].Address).Namespaces[0].Name
	require.NoError(t, os.MkdirAll("/tmp/ext4", 0o700))
	require.NoError(t, unix.Mount(node, "/tmp/ext4", "ext4", 0, ""))
	engines := []string{"--device", "nvme:" + controller(t) + options, "--vs", "hostfs:/tmp/ext4"}
	t.Log("\n" + command(t, "kvbench", append(engines, args...)...))
	require.NoError(t, unix.Unmount("/tmp/ext4", 0))
}
