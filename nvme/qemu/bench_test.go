package qemu

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/qemutest"
)

// benches measure, side by side in one boot, the driver against the kernel's on the same kind of emulated controller, and
// print what they find; nothing about time is asserted. The kernel's driver is spared the IOMMU, which ours cannot do without.
// Left alone, the guest takes an emulated timer for its clock, at 6 µs a look, during which the controller stands still.
func benches() []boot {
	list := []boot{
		{name: "reads", machine: with(4, 7, ns{LBA: 4096, MiB: 1024}), tests: "^TestBenchReads$"},
		{name: "fillsync", machine: besideHost(), tests: "^TestBenchFillSync$"},
		{name: "readrandom", machine: besideHost(), tests: "^TestBenchReadRandom$"},
	}
	for i := range list {
		list[i].limit, list[i].kernel = 5*time.Minute, "iommu=pt tsc=reliable clocksource=tsc"
		list[i].Quick = true
	}
	return list
}

// besideHost has a controller for ours, and one with an ext4 for the kernel's driver.
func besideHost() machine {
	m := with(16, 7, ns{LBA: 4096, MiB: 2048})
	m.Beside = 2048
	return m
}

// ext4Modules are what mounting an ext4 takes; the checksum is one that it asks the kernel for by name.
var ext4Modules = []string{"?crc32c_intel", "?crc32c_generic", "?ext4"}

func TestBench(t *testing.T) {
	if os.Getenv(envRun) != "bench" {
		t.Skipf("measures in virtual machines; `make bench-nvme` runs it (%s=bench)", envRun)
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	tools, err := qemutest.Find(ctx)
	require.NoError(t, err)
	program, files := guestPrograms(t, ctx)
	addFio(t, ctx, files)
	image, err := qemutest.NewImage(ctx, tools, t.TempDir(), program, slices.Concat(modules, ext4Modules), files)
	require.NoError(t, err)
	for _, b := range benches() {
		t.Run(b.name, func(t *testing.T) { b.run(t, image) })
	}
}

// library is what a line of ldd ends with: a shared library's path, or the loader's.
var library = regexp.MustCompile(`(/\S+) \(0x`)

// addFio adds the host's fio and its libraries, if there is one: a second opinion on the kernel's driver.
func addFio(t *testing.T, ctx context.Context, files map[string]string) {
	t.Helper()
	fio, err := exec.LookPath("fio")
	if err != nil {
		t.Log("fio is not installed: the kernel's driver is measured with blobcli alone")
		return
	}
	out, err := exec.CommandContext(ctx, "ldd", fio).Output()
	require.NoError(t, err)
	files["/bin/fio"] = fio
	for _, m := range library.FindAllSubmatch(out, -1) {
		files[string(m[1])] = string(m[1])
	}
}
