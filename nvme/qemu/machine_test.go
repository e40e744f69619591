package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/loopdev"
	"github.com/blobkv/blobkv/nvme/nvmetest"
)

// machine is a controller of QEMU's, and what is around it.
type machine struct {
	nvmetest.Controller
	Logged bool // namespace 1 sits behind blklogwrites
	Quick  bool // QEMU reads and writes the images with io_uring: of a read, its pool of threads takes longer than all else
	Beside int  // MiB of an ext4 on a controller of its own, of the same kind; 0 is none
}

// plain is a controller with nothing special.
func plain() machine { return with(2, 7, nvmetest.Namespace{LBA: 512, MiB: 64}) }

func with(queues, mdts int, namespaces ...nvmetest.Namespace) machine {
	return machine{Controller: nvmetest.Controller{Queues: queues, MDTS: mdts, TiesTags: true, Fragile: true, CutsMeta: true, Namespaces: namespaces}}
}

const (
	image  = "disk%d.img" // of namespace n
	log    = "log.img"    // of blklogwrites
	beside = "beside.img" // of the second controller
)

// arguments makes QEMU's arguments and the images, which are sparse. The IOMMU has to remap interrupts, or vfio refuses it.
// The controller sits in a slot of its own, from which it can be unplugged.
func (c machine) arguments(t *testing.T, folder string) []string {
	t.Helper()
	args := []string{
		"-device", "intel-iommu,intremap=on,caching-mode=on",
		"-device", "pcie-root-port,id=slot0,chassis=1,slot=1",
		"-device", "nvme-subsys,id=subsys0,nqn=test",
		"-device", "nvme,id=nvme0,serial=test,subsys=subsys0,bus=slot0" + c.features(),
	}
	for i, ns := range c.Namespaces {
		path := filepath.Join(folder, fmt.Sprintf(image, i+1))
		sparse(t, path, ns.MiB)
		if c.Logged && i == 0 {
			sparse(t, filepath.Join(folder, log), 0)
			args = append(args, "-blockdev", fmt.Sprintf("driver=blklogwrites,node-name=disk%d,log-sector-size=512,log-super-update-interval=1,"+
				"file.driver=file,file.filename=%s,log.driver=file,log.filename=%s", i+1, path, filepath.Join(folder, log)))
		} else {
			args = append(args, "-blockdev", c.drive(fmt.Sprintf("disk%d", i+1), path))
		}
		args = append(args, "-device", device(ns, "nvme0", fmt.Sprintf("disk%d", i+1), i+1, c.NoCache))
	}
	return append(args, c.second(t, folder)...)
}

// features are the controller's own.
func (c machine) features() string {
	return fmt.Sprintf(",mdts=%d,max_ioqpairs=%d,msix_qsize=%d,cmb_size_mb=%d", c.MDTS, c.Queues, c.Queues+1, c.CMB)
}

// second makes the controller beside it, which the tests leave to the kernel's driver.
func (c machine) second(t *testing.T, folder string) []string {
	t.Helper()
	if c.Beside == 0 {
		return nil
	}
	path := filepath.Join(folder, beside)
	sparse(t, path, c.Beside)
	require.NoError(t, loopdev.FormatExt4(t.Context(), path))
	return []string{
		"-device", "pcie-root-port,id=slot1,chassis=2,slot=2",
		"-device", "nvme,id=nvme1,serial=beside,bus=slot1" + c.features(),
		"-blockdev", c.drive("beside", path),
		"-device", device(nvmetest.Namespace{LBA: c.Namespaces[0].LBA}, "nvme1", "beside", 1, c.NoCache),
	}
}

// drive is what a namespace's blocks are kept in.
func (c machine) drive(node, path string) string {
	d := fmt.Sprintf("driver=raw,node-name=%s,file.driver=file,file.filename=%s,discard=unmap", node, path)
	if c.Quick {
		d += ",file.aio=io_uring"
	}
	return d
}

func device(ns nvmetest.Namespace, bus, drive string, n int, noCache bool) string {
	d := fmt.Sprintf("nvme-ns,bus=%s,drive=%s,nsid=%d,logical_block_size=%d,physical_block_size=%d,ms=%d,pi=%d",
		bus, drive, n, ns.LBA, ns.LBA, ns.MS, ns.PI)
	for flag, on := range map[string]bool{
		",mset=1": ns.Extended, ",detached=on,shared=off": ns.Detached, ",write-cache=off": noCache,
		",zoned=on,zoned.zone_size=4M,zoned.zone_capacity=3M,zoned.max_open=4,zoned.max_active=6": ns.Zoned,
	} {
		if on {
			d += flag
		}
	}
	return d
}

// json is the controller for the guest.
func (c machine) json(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(c.Controller)
	require.NoError(t, err)
	return string(b)
}

func sparse(t *testing.T, path string, mib int) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(int64(mib)<<20))
	require.NoError(t, f.Close())
}
