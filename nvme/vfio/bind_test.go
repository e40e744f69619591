package vfio

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const one = "0000:01:00.0"

func (m *machine) driver() string { return target(m.path("sys/bus/pci/devices/" + one + "/driver")) }

// override is all that was written to the attribute.
func (m *machine) override() string {
	b, err := os.ReadFile(m.path("sys/bus/pci/devices/" + one + "/driver_override"))
	require.NoError(m.t, err)
	return string(b)
}

func TestBindAndUnbind(t *testing.T) {
	m := newMachine(t)
	m.nvme(one, 7)
	require.NoError(t, m.host.Bind(one))
	require.Equal(t, driverVFIO, m.driver())
	n := len(m.writes)
	require.NoError(t, m.host.Bind(one), "bound already")
	require.Len(t, m.writes, n)
	require.NoError(t, m.host.Unbind(one))
	require.Equal(t, driverNVMe, m.driver())
	require.Equal(t, "\n", m.override(), "what ends an override: an empty write changes nothing")
	require.NoError(t, m.host.Unbind(one), "unbound already")
	for _, do := range []func(string) error{m.host.Bind, m.host.Unbind} {
		require.ErrorIs(t, do("0000:09:00.0"), ErrNotFound)
	}
}

// TestBindOfFree: a controller that has no driver is bound from there, also in the first group, and given to the kernel's.
func TestBindOfFree(t *testing.T) {
	m := newMachine(t)
	m.device(one, "0x010802", "", 0)
	require.NoError(t, m.host.Bind(one))
	require.Equal(t, driverVFIO, m.driver())
	m.bind(one, "")
	require.NoError(t, m.host.Unbind(one))
	require.Equal(t, driverNVMe, m.driver())
}

// TestBindRefuses checks that what is in use stays with its driver, and that the message says who uses it.
func TestBindRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(m *machine)
		want    error
		text    string
	}{
		"mounted partition": {func(m *machine) {
			m.file("proc/self/mountinfo", "22 1 259:12 / /my\\040data rw - ext4 /dev/root rw\n")
		}, ErrInUse, "nvme0n1p2 is mounted on /my data"},
		"mounted by name": {func(m *machine) {
			m.file("proc/self/mountinfo", "broken\n22 1 0:44 /sub /srv rw - btrfs /dev/nvme0n1 rw\n")
		}, ErrInUse, "nvme0n1 is mounted on /srv"},
		"swap": {func(m *machine) {
			m.file("proc/swaps", "Filename Type\n/dev/nvme0n1p3 partition 1 0 -2\n")
		}, ErrInUse, "nvme0n1p3 is swap"},
		"volume manager": {func(m *machine) {
			m.folder("sys/class/block/nvme0n1p1/holders/dm-3")
			m.file("sys/class/block/dm-3/dm/name", "vg0-root\n")
		}, ErrInUse, "nvme0n1p1 is held by dm-3 (vg0-root)"},
		"open": {func(m *machine) {
			m.process(4711, "postgres", "/dev/nvme0n1")
			m.link("proc/self/fd/5", "/dev/nvme0n1") // which is another name of one
		}, ErrInUse, "nvme0n1 is open in process 4711 (postgres); end that first"},
		"unreadable": {func(m *machine) {
			m.host.claim = func(path string) (io.Closer, error) {
				return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EACCES}
			}
		}, ErrInUse, "nobody knows whether it is in use"},
		"claimed": {func(m *machine) { m.busy["nvme0n1"] = true }, ErrInUse, "claimed by the kernel"},
		"no IOMMU": {func(m *machine) {
			require.NoError(t, os.Remove(m.path("sys/bus/pci/devices/"+one+"/iommu_group")))
		}, ErrNoIOMMU, "intel_iommu=on"},
		"unsafe": {func(m *machine) {
			m.file("sys/kernel/iommu_groups/7/name", "vfio-noiommu\n")
		}, ErrNoIOMMU, "unsafe no-IOMMU mode"},
		"group": {func(m *machine) {
			m.device("0000:01:00.1", "0x020000", "e1000e", 7)
			m.device("0000:00:01.0", "0x060400", "pcieport", 7)
			m.device("0000:01:00.2", "0x020000", "", 7)
		}, ErrNotViable, "shares IOMMU group 7 with 0000:01:00.1 (driver e1000e);"},
		"no vfio-pci": {func(m *machine) {
			require.NoError(t, os.RemoveAll(m.path("sys/bus/pci/drivers/vfio-pci")))
		}, ErrNotLoaded, "modprobe vfio-pci"},
		"foreign driver": {func(m *machine) { m.bind(one, "uio_pci_generic") }, ErrBoundElsewhere, "bound to uio_pci_generic"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.nvme(one, 7)
			before := m.driver()
			c.prepare(m)
			if name == "foreign driver" {
				before = "uio_pci_generic"
			}
			err := m.host.Bind(one)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, before, m.driver())
			require.Empty(t, m.writes)
		})
	}
}

func TestHoldersListsAll(t *testing.T) {
	m := newMachine(t)
	m.nvme(one, 7)
	held, err := m.host.Holders(one)
	require.NoError(t, err)
	require.Empty(t, held)
	m.file("proc/self/mountinfo", "22 1 259:11 / / rw - ext4 /dev/nvme0n1p1 rw\n23 1 259:11 / /srv rw - ext4 /dev/nvme0n1p1 rw\n")
	m.file("proc/swaps", "Filename Type\n/dev/nvme0n1p2 partition 1 0 -2\n")
	m.busy["nvme0n1"] = true
	held, err = m.host.Holders(one)
	require.NoError(t, err)
	require.Equal(t, []Holder{{"nvme0n1p1", "mounted on /"}, {"nvme0n1p1", "mounted on /srv"}, {"nvme0n1p2", "swap"}}, held)
	require.Empty(t, m.writes)

	m = newMachine(t)
	m.nvme(one, 7)
	m.host.claim = func(path string) (io.Closer, error) {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	held, err = m.host.Holders(one)
	require.NoError(t, err)
	require.Empty(t, held, "nobody opens what has no node")
}

func TestParseMounts(t *testing.T) {
	got := parseMounts(strings.NewReader("22 1 8:1 / /a - ext4 /dev/x\n22 1 8:2 / - ext4 /dev/x\n22 1 8:3 / /c - ext4\n" +
		"22 1 8:4 / /d ext4 /dev/x\n22 1 8:5 / /e\\134f rw shared:1 - ext4 /dev/y rw,errors=continue\n"))
	require.Equal(t, []mount{{"8:1", "/a", "/dev/x"}, {"8:5", `/e\f`, "/dev/y"}}, got)
}

// TestBindFailsHalfWay checks that the kernel's driver gets the controller back.
func TestBindFailsHalfWay(t *testing.T) {
	for suffix, err := range map[string]error{"driver_override": syscall.EACCES, "driver/unbind": syscall.EIO} {
		m := newMachine(t)
		m.nvme(one, 7)
		m.refuse[suffix] = &os.PathError{Op: "write", Path: suffix, Err: err}
		got := m.host.Bind(one)
		require.ErrorIs(t, got, err)
		if err == syscall.EACCES {
			require.ErrorIs(t, got, ErrPermission)
			require.ErrorContains(t, got, "sudo")
		} else {
			require.Equal(t, "\n", m.override(), "it would be vfio-pci's at the next probe")
			require.NotContains(t, got.Error(), "given back", "its driver never lost it")
		}
		require.Equal(t, driverNVMe, m.driver())
	}
	m := newMachine(t)
	m.nvme(one, 7)
	probe := m.host.write
	m.host.write = func(path, value string) error { // a vfio-pci that refuses the device
		if strings.HasSuffix(path, "drivers_probe") && attribute(m.path("sys/bus/pci/devices/"+one+"/driver_override")) == driverVFIO {
			return nil
		}
		return probe(path, value)
	}
	err := m.host.Bind(one)
	require.ErrorIs(t, err, ErrKernel)
	require.ErrorContains(t, err, "dmesg")
	require.Equal(t, driverNVMe, m.driver())
	require.Equal(t, "\n", m.override())
}

func TestUnbindRefuses(t *testing.T) {
	m := newMachine(t)
	m.device(one, "0x010802", driverVFIO, 7)
	m.process(12, "kvbench", "/dev/vfio/7")
	err := m.host.Unbind(one)
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, "process 12 (kvbench)")
	require.Empty(t, m.writes)
	require.NoError(t, os.RemoveAll(m.path("proc/12")))
	m.file("sys/bus/pci/devices/"+one+"/vfio-dev/vfio0/dev", "511:0\n")
	m.process(13, "kvbench", "/dev/vfio/devices/vfio0")
	require.ErrorContains(t, m.host.Unbind(one), "/dev/vfio/devices/vfio0 is open in process 13 (kvbench)")
	require.NoError(t, os.RemoveAll(m.path("proc/13")))
	require.NoError(t, os.RemoveAll(m.path("sys/bus/pci/drivers/nvme")))
	err = m.host.Unbind(one)
	require.ErrorIs(t, err, ErrNotLoaded)
	require.ErrorContains(t, err, "modprobe nvme")

	m = newMachine(t)
	m.device(one, "0x010802", "uio_pci_generic", 7)
	err = m.host.Unbind(one)
	require.ErrorIs(t, err, ErrBoundElsewhere)
	require.ErrorContains(t, err, "uio_pci_generic")
	require.Empty(t, m.writes)

	m = newMachine(t)
	m.device(one, "0x010802", driverVFIO, 7)
	write := m.host.write
	m.host.write = func(path, value string) error { // another driver takes what is free
		if strings.HasSuffix(path, "drivers_probe") {
			m.bind(value, "stub")
			return nil
		}
		return write(path, value)
	}
	err = m.host.Unbind(one)
	require.ErrorIs(t, err, ErrBoundElsewhere)
	require.ErrorContains(t, err, "bound it to stub")
}

// TestWriteAttribute: attributes are there or not, and written in one go.
func TestWriteAttribute(t *testing.T) {
	m := newMachine(t)
	m.file("sys/attribute", "before")
	require.NoError(t, writeAttribute(m.path("sys/attribute"), "value\n"))
	b, err := os.ReadFile(m.path("sys/attribute"))
	require.NoError(t, err)
	require.Equal(t, "value\n", string(b))
	require.ErrorIs(t, writeAttribute(m.path("sys/none"), "value"), os.ErrNotExist)
	require.NoFileExists(t, m.path("sys/none"))
}
