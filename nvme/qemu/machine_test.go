package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// namespace is one namespace of a machine's controller.
type namespace struct {
	LBA      int  // bytes of a block
	MS       int  // bytes of metadata
	PI       int  // protection type
	Extended bool // metadata lies behind each block, not in a buffer of its own
	Zoned    bool
	Detached bool // at first
	MiB      int
}

// controller is one NVMe controller of QEMU's. The guest gets it as JSON and checks what the driver makes of it.
type controller struct {
	Queues     int  // I/O queue pairs
	MDTS       int  // the largest transfer is 4 KiB << MDTS
	CMB        int  // MiB
	NoCache    bool // no volatile write cache
	Logged     bool // namespace 1 sits behind blklogwrites
	Namespaces []namespace
}

// plain is a controller with nothing special.
func plain() controller {
	return controller{Queues: 2, MDTS: 7, Namespaces: []namespace{{LBA: 512, MiB: 64}}}
}

const (
	image = "disk%d.img" // of namespace n
	log   = "log.img"    // of blklogwrites
)

// arguments makes QEMU's arguments and the images, which are sparse. The IOMMU has to remap interrupts, or vfio refuses it.
// The controller sits in a slot of its own, from which it can be unplugged.
func (c controller) arguments(t *testing.T, folder string) []string {
	t.Helper()
	args := []string{
		"-device", "intel-iommu,intremap=on,caching-mode=on",
		"-device", "pcie-root-port,id=slot0,chassis=1,slot=1",
		"-device", "nvme-subsys,id=subsys0,nqn=test",
		"-device", fmt.Sprintf("nvme,id=nvme0,serial=test,subsys=subsys0,bus=slot0,mdts=%d,max_ioqpairs=%d,msix_qsize=%d,cmb_size_mb=%d",
			c.MDTS, c.Queues, c.Queues+1, c.CMB),
	}
	for i, ns := range c.Namespaces {
		path := filepath.Join(folder, fmt.Sprintf(image, i+1))
		sparse(t, path, ns.MiB)
		if c.Logged && i == 0 {
			sparse(t, filepath.Join(folder, log), 0)
			args = append(args, "-blockdev", fmt.Sprintf("driver=blklogwrites,node-name=disk%d,log-sector-size=512,"+
				"file.driver=file,file.filename=%s,log.driver=file,log.filename=%s", i+1, path, filepath.Join(folder, log)))
		} else {
			args = append(args, "-blockdev", fmt.Sprintf("driver=raw,node-name=disk%d,file.driver=file,file.filename=%s,discard=unmap", i+1, path))
		}
		args = append(args, "-device", ns.device(i+1, c.NoCache))
	}
	return args
}

func (ns namespace) device(n int, noCache bool) string {
	d := fmt.Sprintf("nvme-ns,bus=nvme0,nsid=%d,drive=disk%d,logical_block_size=%d,physical_block_size=%d,ms=%d,pi=%d",
		n, n, ns.LBA, ns.LBA, ns.MS, ns.PI)
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

func (c controller) json(t *testing.T) string {
	t.Helper()
	b, err := json.Marshal(c)
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
