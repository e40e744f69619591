//go:build linux

package guest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/qemutest"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/nvmetest"
	"github.com/blobkv/blobkv/nvme/vfio"
)

// pollTime bounds the wait for an interrupt, in milliseconds.
const pollTime = 5000

// env is how the suites of nvmetest reach the first controller.
func env(by vfio.By) nvmetest.Env {
	return nvmetest.Env{
		Open: func(t *testing.T) nvme.Transport {
			d, err := vfio.Open(controller(t), vfio.Options{By: by})
			require.NoError(t, err)
			return d
		},
		Pages: func(t *testing.T) []byte {
			b, err := unix.Mmap(-1, 0, 16<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, unix.Munmap(b)) })
			return b
		},
		Eventfd: func(t *testing.T) int {
			fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
			return fd
		},
		Signalled: func(t *testing.T, fd int, wait bool) bool {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			limit := 0
			if wait {
				limit = pollTime
			}
			n, err := unix.Poll(p, limit)
			for err == unix.EINTR { // Go's own signals
				n, err = unix.Poll(p, limit)
			}
			require.NoError(t, err)
			if n == 0 {
				return false
			}
			var b [8]byte
			_, err = unix.Read(fd, b[:])
			return err == nil
		},
	}
}

// TestBind takes the controller from the kernel's driver, but not while something uses its namespace.
func TestBind(t *testing.T) {
	h := vfio.System()
	list, err := h.List()
	require.NoError(t, err)
	require.NotEmpty(t, list)
	c := list[0]
	if c.Driver == "vfio-pci" {
		require.NoError(t, h.Unbind(c.Address))
	}
	c = waitForNamespaces(t, h, c.Address)
	require.Equal(t, "QEMU NVMe Ctrl", c.Model)
	require.NotEmpty(t, c.Serial)
	require.Positive(t, c.Size())
	require.GreaterOrEqual(t, c.Group, 0)
	node := "/dev/" + c.Namespaces[0].Name

	held, err := h.Holders(c.Address)
	require.NoError(t, err)
	require.Empty(t, held)
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	require.NoError(t, err)
	err = h.Bind(c.Address)
	require.ErrorIs(t, err, vfio.ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("open in process %d", os.Getpid()))
	swapSignature(t, f)
	require.NoError(t, f.Close())
	if swap(t, unix.SYS_SWAPON, node) {
		err = h.Bind(c.Address)
		require.ErrorIs(t, err, vfio.ErrInUse)
		require.ErrorContains(t, err, "is swap")
		require.True(t, swap(t, unix.SYS_SWAPOFF, node))
	}
	_, err = vfio.Open(c.Address, vfio.Options{})
	require.ErrorIs(t, err, vfio.ErrBoundElsewhere)

	require.NoError(t, h.Bind(c.Address))
	c, err = h.Controller(c.Address)
	require.NoError(t, err)
	require.Equal(t, "vfio-pci", c.Driver)
	d, err := vfio.Open(c.Address, vfio.Options{})
	require.NoError(t, err)
	err = h.Unbind(c.Address)
	require.ErrorIs(t, err, vfio.ErrInUse, "the kernel would wait for ever")
	_, err = vfio.Open(c.Address, vfio.Options{})
	require.ErrorIs(t, err, vfio.ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("open in process %d", os.Getpid()))
	require.NoError(t, d.Close())
}

// waitForNamespaces waits until the kernel's driver has scanned a controller.
func waitForNamespaces(t *testing.T, h *vfio.Host, address string) vfio.Controller {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := h.Controller(address)
		require.NoError(t, err)
		if len(c.Namespaces) > 0 && c.Size() > 0 {
			if _, err := os.Stat("/dev/" + c.Namespaces[0].Name); err == nil {
				return c
			}
		}
		require.True(t, time.Now().Before(end), "no namespaces: %+v", c)
	}
}

// swapSignature makes the first page one of a swap area of 16 pages.
func swapSignature(t *testing.T, f *os.File) {
	t.Helper()
	page := make([]byte, 4096)
	page[1024], page[1028] = 1, 15 // version, last page
	copy(page[4086:], "SWAPSPACE2")
	_, err := f.WriteAt(page, 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
}

// swap switches swapping to a device on or off; false where the kernel has none.
func swap(t *testing.T, call uintptr, node string) bool {
	t.Helper()
	path, err := unix.BytePtrFromString(node)
	require.NoError(t, err)
	_, _, errno := unix.Syscall(call, uintptr(ptr(path)), 0, 0)
	if errno != 0 {
		t.Logf("swap on %s: %v", node, errno)
	}
	return errno == 0
}

func TestTransportByGroup(t *testing.T) { nvmetest.Transport(t, env(vfio.ByGroup)) }

func TestTransportByCDev(t *testing.T) {
	if _, err := os.Stat("/dev/iommu"); err != nil {
		_, err := vfio.Open(controller(t), vfio.Options{By: vfio.ByCDev})
		require.ErrorIs(t, err, nvme.ErrUnsupported)
		t.Skip("this kernel has no iommufd")
	}
	nvmetest.Transport(t, env(vfio.ByCDev))
}

func TestHugePages(t *testing.T) {
	d := open(t)
	require.NoError(t, os.WriteFile("/proc/sys/vm/nr_hugepages", []byte("2"), 0))
	m, err := d.Alloc(2 << 20)
	require.NoError(t, err)
	require.Equal(t, vfio.Memory{Allocated: 2 << 20, Huge: 2 << 20}, d.Memory())
	big, err := d.Alloc(4 << 20) // one page is left
	require.NoError(t, err)
	require.Equal(t, vfio.Memory{Allocated: 6 << 20, Huge: 2 << 20}, d.Memory())
	require.NoError(t, d.Free(m))
	require.NoError(t, d.Free(big))
	require.NoError(t, os.WriteFile("/proc/sys/vm/nr_hugepages", []byte("0"), 0))
}

// child runs a test of this binary in a process of its own, prepared by the caller, and returns its output's lines.
func child(t *testing.T, test string, prepare func(c *exec.Cmd)) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := exec.Command("/proc/self/exe", "-test.run", "^"+test+"$", "-test.v")
	c.Env = append(os.Environ(), "CHILD="+test)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	c.Stderr = c.Stdout
	if prepare != nil {
		prepare(c)
	}
	require.NoError(t, c.Start())
	return c, bufio.NewScanner(out)
}

func isChild(t *testing.T) {
	t.Helper()
	if os.Getenv("CHILD") != t.Name() {
		t.Skip("part of another test")
	}
}

// TestKill kills a process in the middle of its DMA. The controller is quiet then, and opens again.
func TestKill(t *testing.T) {
	for range 3 {
		c, lines := child(t, "TestKillChild", nil)
		running := false
		for !running && lines.Scan() {
			running = lines.Text() == "running"
		}
		require.True(t, running)
		require.NoError(t, c.Process.Kill())
		for lines.Scan() {
		}
		require.Error(t, c.Wait())
		d, err := vfio.Open(controller(t), vfio.Options{})
		require.NoError(t, err)
		cc, err := d.Load32(0x14)
		require.NoError(t, err)
		require.Zero(t, cc&1, "the dead process's controller still runs")
		require.NoError(t, d.Close())
	}
	nvmetest.Transport(t, env(vfio.ByAny))
}

// TestKillChild identifies until it is killed.
func TestKillChild(t *testing.T) {
	isChild(t)
	d := open(t)
	nvmetest.Busy(t, d, func() { fmt.Println("running") })
}

// TestUnprivileged opens the controller as a user without rights, then with the group's node, and then with too little
// memory that may be locked.
func TestUnprivileged(t *testing.T) {
	address := controller(t)
	require.NoError(t, os.Chmod("/dev/vfio/vfio", 0o666))
	group := groupNode(t, address)
	require.NoError(t, os.Chown(group, 0, 0))
	as := func(c *exec.Cmd) {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	}
	for _, owned := range []bool{false, true} {
		if owned {
			require.NoError(t, os.Chown(group, 1000, 1000))
		}
		c, lines := child(t, "TestUnprivilegedChild", func(c *exec.Cmd) {
			as(c)
			c.Env = append(c.Env, fmt.Sprintf("OWNED=%v", owned))
		})
		var text string
		for lines.Scan() {
			text += lines.Text() + "\n"
		}
		require.NoError(t, c.Wait(), text)
	}
}

func groupNode(t *testing.T, address string) string {
	t.Helper()
	c, err := vfio.System().Controller(address)
	require.NoError(t, err)
	return filepath.Join("/dev/vfio", fmt.Sprint(c.Group))
}

// TestUnprivilegedChild runs as user 1000.
func TestUnprivilegedChild(t *testing.T) {
	isChild(t)
	list, err := vfio.System().List()
	require.NoError(t, err)
	d, err := vfio.Open(list[0].Address, vfio.Options{})
	if os.Getenv("OWNED") == "false" {
		require.ErrorIs(t, err, vfio.ErrPermission)
		require.ErrorContains(t, err, "owner 0, group 0, mode 0600")
		return
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	m, err := d.Alloc(512 << 10)
	require.NoError(t, err)
	_, err = d.Alloc(1 << 20)
	require.ErrorIs(t, err, vfio.ErrLockedMemory)
	require.ErrorContains(t, err, "limit 1024 KiB, needed 1536 KiB")
	require.NoError(t, d.Free(m))
	_, err = d.Alloc(1 << 20)
	require.NoError(t, err)
}

// TestDeviceDel asks QEMU to unplug the controller under load: the kernel wants it back, the transport reports it gone, and
// once it is closed the device disappears.
func TestDeviceDel(t *testing.T) {
	address := controller(t)
	d, err := vfio.Open(address, vfio.Options{})
	require.NoError(t, err)
	asked := false
	gone := nvmetest.Load(t, d, func() {
		if !asked {
			asked = true
			_, err := qemutest.Call(qemutest.CallQMP, `{"execute":"device_del","arguments":{"id":"nvme0"}}`)
			require.NoError(t, err)
		}
	})
	require.ErrorIs(t, gone, nvme.ErrGone)
	require.ErrorContains(t, gone, "hot removal")
	require.NoError(t, d.Close())
	for end := time.Now().Add(30 * time.Second); ; {
		if _, err := vfio.System().Controller(address); err != nil {
			require.ErrorIs(t, err, vfio.ErrNotFound)
			return
		}
		require.True(t, time.Now().Before(end), "still there")
	}
}

// TestUnreachable closes the bridge above the controller, so that its registers answer with nothing, as after a removal.
func TestUnreachable(t *testing.T) {
	d := open(t)
	port := filepath.Dir(realPath(t, "/sys/bus/pci/devices/"+d.Name()))
	w := d.Window(0, 0x1000)
	require.NotNil(t, w)
	bridge(t, filepath.Join(port, "config"), false)
	_, err := d.Load32(0x1c)
	bridge(t, filepath.Join(port, "config"), true)
	require.ErrorIs(t, err, nvme.ErrGone)
	_, err = d.Load32(0x1c)
	require.ErrorIs(t, err, nvme.ErrGone, "back, but not the controller that was opened")
}

// bridge lets memory accesses through or not: bit 1 of its command register.
func bridge(t *testing.T, config string, through bool) {
	t.Helper()
	f, err := os.OpenFile(config, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 2)
	_, err = f.ReadAt(b, 4)
	require.NoError(t, err)
	b[0] &^= 2
	if through {
		b[0] |= 2
	}
	_, err = f.WriteAt(b, 4)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestSurpriseRemoval cuts the power of the controller's slot under load, as pulling a drive does. Closing takes a
// minute then: Linux 6.1 waits that long for a device that it resets.
func TestSurpriseRemoval(t *testing.T) {
	address := controller(t)
	port := filepath.Dir(realPath(t, "/sys/bus/pci/devices/"+address))
	d, err := vfio.Open(address, vfio.Options{})
	require.NoError(t, err)
	pulled := false
	gone := nvmetest.Load(t, d, func() {
		if !pulled {
			pulled = true
			slotOff(t, filepath.Join(port, "config"))
		}
	})
	require.ErrorIs(t, gone, nvme.ErrGone)
	t.Log(gone)
	require.NoError(t, d.Close())
}

func realPath(t *testing.T, path string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	require.NoError(t, err)
	return real
}

// slotOff writes the slot control register of a root port (PCI Express base 3.0, section 7.8.10): power off, indicator off.
func slotOff(t *testing.T, config string) {
	t.Helper()
	f, err := os.OpenFile(config, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	b := make([]byte, 256)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	for at := int(b[0x34]); at != 0; at = int(b[at+1]) {
		if b[at] != 0x10 { // PCI Express
			continue
		}
		control := uint16(b[at+0x18]) | uint16(b[at+0x19])<<8
		control |= 1<<10 | 3<<8 // power controller off, power indicator off
		_, err := f.WriteAt([]byte{byte(control), byte(control >> 8)}, int64(at+0x18))
		require.NoError(t, err)
		return
	}
	t.Fatal("the controller sits in no slot")
}
