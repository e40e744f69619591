package vfio

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// machine is a PCI bus in a temporary folder and a kernel in memory. Its sysfs reacts to writes as the kernel's does.
type machine struct {
	t    *testing.T
	root string
	host *Host
	kernel
	fake *fakeKernel
	// refuse makes writes to an attribute fail, by the end of its path.
	refuse map[string]error
	busy   map[string]bool // block devices that cannot be opened exclusively
	claims int             // that are open
	writes []string        // to sysfs
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, root: t.TempDir(), refuse: map[string]error{}, busy: map[string]bool{}}
	m.fake = newFakeKernel(m)
	m.host = &Host{root: m.root, kernel: m.fake, write: m.write, claim: m.claim, check: func() error { return nil }}
	m.file("proc/self/mountinfo", "22 1 259:9 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n")
	m.file("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n")
	for _, d := range []string{driverVFIO, driverNVMe} {
		m.folder("sys/bus/pci/drivers/" + d)
	}
	m.file("sys/bus/pci/drivers_probe", "")
	t.Cleanup(func() { require.Zero(t, m.claims, "block devices left open") })
	return m
}

func (m *machine) path(p string) string { return filepath.Join(m.root, p) }

func (m *machine) folder(p string) { require.NoError(m.t, os.MkdirAll(m.path(p), 0o755)) }

func (m *machine) file(p, content string) {
	m.folder(filepath.Dir(p))
	require.NoError(m.t, os.WriteFile(m.path(p), []byte(content), 0o644))
}

func (m *machine) link(p, to string) {
	m.folder(filepath.Dir(p))
	require.NoError(m.t, os.Symlink(to, m.path(p)))
}

// device adds a PCI function; driver "" leaves it unbound, group < 0 without an IOMMU.
func (m *machine) device(address, class, driver string, group int) {
	d := "sys/bus/pci/devices/" + address
	m.file(d+"/class", class+"\n")
	m.file(d+"/vendor", "0x1b36\n")
	m.file(d+"/device", "0x0010\n")
	m.file(d+"/numa_node", "1\n")
	m.file(d+"/driver_override", "(null)\n")
	if group >= 0 {
		g := fmt.Sprintf("sys/kernel/iommu_groups/%d", group)
		m.folder(g + "/devices/" + address)
		m.link(d+"/iommu_group", "../../../../kernel/iommu_groups/"+fmt.Sprint(group))
	}
	m.bind(address, driver)
}

func (m *machine) bind(address, driver string) {
	_ = os.Remove(m.path("sys/bus/pci/devices/" + address + "/driver")) // there may be none
	if driver != "" {
		m.folder("sys/bus/pci/drivers/" + driver)
		m.file("sys/bus/pci/drivers/"+driver+"/unbind", "")
		m.link("sys/bus/pci/devices/"+address+"/driver", "../../drivers/"+driver)
	}
}

// nvme adds a controller of the kernel's driver with one namespace of three partitions.
func (m *machine) nvme(address string, group int) {
	m.device(address, "0x010802", driverNVMe, group)
	c := "sys/bus/pci/devices/" + address + "/nvme/nvme0"
	m.file(c+"/model", "QEMU NVMe Ctrl                          \n")
	m.file(c+"/serial", "proof               \n")
	m.file(c+"/firmware_rev", "7.2\n")
	m.file(c+"/hwmon1/name", "nvme\n")
	m.folder(c + "/nvme0c0n1")
	m.folder(c + "/ng0n1")
	b := "sys/class/block/nvme0n1"
	m.file(b+"/size", "2097152\n")
	m.file(b+"/nsid", "1\n")
	m.file(b+"/dev", "259:1\n")
	m.folder(b + "/holders")
	for i := 1; i <= 3; i++ {
		p := fmt.Sprintf("nvme0n1p%d", i)
		m.file(b+"/"+p+"/partition", fmt.Sprint(i))
		m.file("sys/class/block/"+p+"/dev", fmt.Sprintf("259:%d\n", 10+i))
		m.folder("sys/class/block/" + p + "/holders")
	}
}

// write does what the kernel does when a sysfs attribute is written to.
func (m *machine) write(path, value string) error {
	rel, err := filepath.Rel(m.root, path)
	require.NoError(m.t, err)
	for suffix, err := range m.refuse {
		if strings.HasSuffix(rel, suffix) {
			return err
		}
	}
	if _, err := os.Stat(path); err != nil {
		return err
	}
	m.writes = append(m.writes, rel+"="+value)
	switch {
	case strings.HasSuffix(rel, "driver_override"):
		m.file(rel, value)
	case strings.HasSuffix(rel, "driver/unbind"):
		require.Equal(m.t, value, filepath.Base(filepath.Dir(filepath.Dir(rel))))
		m.bind(value, "")
	case strings.HasSuffix(rel, "drivers_probe"):
		driver := attribute(m.path("sys/bus/pci/devices/" + value + "/driver_override"))
		if driver == "" || driver == "(null)" {
			driver = driverNVMe
		}
		if exists(m.path("sys/bus/pci/drivers/" + driver)) {
			m.bind(value, driver)
		}
	default:
		m.t.Errorf("unexpected write of %q to %s", value, rel)
	}
	return nil
}

type claimed struct{ m *machine }

func (c claimed) Close() error { c.m.claims--; return nil }

func (m *machine) claim(path string) (io.Closer, error) {
	if m.busy[filepath.Base(path)] {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.EBUSY}
	}
	m.claims++
	return claimed{m}, nil
}

// process adds a process that has a file open.
func (m *machine) process(pid int, comm, file string) {
	m.file(fmt.Sprintf("proc/%d/comm", pid), comm+"\n")
	m.link(fmt.Sprintf("proc/%d/fd/5", pid), file)
}

// fakeKernel is vfio with one device behind it, in memory. It holds callers to the interface: descriptors are open and of
// the right kind, mappings do not overlap, nothing is left at the end.
type fakeKernel struct {
	m         *machine
	mu        sync.Mutex
	next      int
	fds       map[int]string // descriptor → node
	memory    map[*byte]int  // mapped memory
	mappings  map[uint64]uint64
	joined    bool // the group in its container, or the device in its address space
	bar       []byte
	config    []byte
	vectors   uint32
	granted   uint32                                 // MSI-X vectors the machine has left, 0: all
	setUp     int                                    // MSI-X vectors set up
	signals   map[int]int                            // vector → eventfd
	requested bool                                   // the kernel wants the device back
	watched   bool                                   // and is to say so
	fails     map[any]error                          // node or request → error
	answers   map[uint]func(arg []byte) (int, error) // request → what the kernel does instead
	noMaps    int                                    // BAR 0 can be mapped only so many times, 0: always
	noConfig  error                                  // of writing to the configuration space
	noBAR     error                                  // of reading and writing registers through the device's file
	limit     uint64                                 // RLIMIT_MEMLOCK
	hugeLeft  int                                    // huge pages, in bytes
	hugeAsked int                                    // how often
	huge      map[*byte]int                          // memory in huge pages, as in memory
	sparse    []area                                 // of BAR 0
	noMmap    bool                                   // BAR 0 cannot be mapped
	slow      int                                    // registers read or written through the device's file
	noReset   bool
	notViable bool
	noType1   bool
	ranges    []iovaRange
	resets    int
}

func newFakeKernel(m *machine) *fakeKernel {
	k := &fakeKernel{m: m, next: 100, fds: map[int]string{}, memory: map[*byte]int{}, huge: map[*byte]int{}, mappings: map[uint64]uint64{},
		bar: aligned(16 << 10), config: make([]byte, 256), vectors: 65, signals: map[int]int{}, fails: map[any]error{},
		answers: map[uint]func([]byte) (int, error){},
		limit:   1 << 40, ranges: []iovaRange{{0, 0xfedfffff}, {0xfef00000, 1<<39 - 1}}}
	binary.LittleEndian.PutUint64(k.bar, 0x4018200f0107ff)
	binary.LittleEndian.PutUint32(k.bar[8:], 0x10400)
	binary.LittleEndian.PutUint16(k.config, 0x1b36)
	k.config[pciStatus] = statusHasCaps
	k.config[pciCapabilities] = 0x40
	copy(k.config[0x40:], []byte{0x01, 0x50})                                                // power management, then
	copy(k.config[0x50:], []byte{capabilityMSIX, 0, 64, 0x80, 0, 0x20, 0, 0, 0, 0x30, 0, 0}) // table at 0x2000, bits at 0x3000
	m.t.Cleanup(k.quiet)
	return k
}

// quiet checks that everything was given back.
func (k *fakeKernel) quiet() {
	require.Empty(k.m.t, k.fds, "descriptors left open")
	require.Empty(k.m.t, k.memory, "memory left mapped")
	require.Empty(k.m.t, k.mappings, "memory left in the IOMMU")
	require.False(k.m.t, k.watched, "an eventfd that is closed left to be signalled")
}

func aligned(size int) []byte {
	b := make([]byte, size+pageSize)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (pageSize - 1)
	return b[skip : skip+size : skip+size]
}

func (k *fakeKernel) open(path string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	node, err := filepath.Rel(k.m.root, path)
	require.NoError(k.m.t, err)
	if err := k.fails["/"+node]; err != nil {
		return -1, err
	}
	return k.newFD("/" + node), nil
}

func (k *fakeKernel) newFD(what string) int {
	k.next++
	k.fds[k.next] = what
	return k.next
}

func (k *fakeKernel) close(fd int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Contains(k.m.t, k.fds, fd, "closing a descriptor that is not open")
	if k.fds[fd] == "device" && k.noConfig == nil {
		require.Zero(k.m.t, k.config[pciCommand]&commandBusMaster, "closed while it is a bus master")
	}
	delete(k.fds, fd)
	return nil
}

func (k *fakeKernel) ioctlValue(fd int, request uint, value uintptr) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Equal(k.m.t, nodeContainer, k.fds[fd])
	if err := k.fails[request]; err != nil {
		return -1, err
	}
	require.EqualValues(k.m.t, iommuType1v2, value)
	if request == vfioSetIOMMU {
		require.True(k.m.t, k.joined, "an IOMMU for a container without a group")
		return 0, nil
	}
	require.EqualValues(k.m.t, vfioCheckExtension, request)
	if k.noType1 {
		return 0, nil
	}
	return 1, nil
}

func (k *fakeKernel) ioctl(fd int, request uint, arg []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Contains(k.m.t, k.fds, fd)
	if err := k.fails[request]; err != nil {
		return -1, err
	}
	if answer := k.answers[request]; answer != nil {
		return answer(arg)
	}
	word := func(i int) uint32 { return native.Uint32(arg[4*i:]) }
	if !slices.Contains([]uint{vfioGetAPIVersion, vfioGroupSetContainer, vfioGroupGetDeviceFD, vfioDeviceReset}, request) {
		require.Len(k.m.t, arg, int(word(0)), "structure of request %#x", request)
	}
	switch request {
	case vfioGetAPIVersion:
		return apiVersion, nil
	case vfioGroupGetStatus:
		if !k.notViable {
			native.PutUint32(arg[4:], groupViable)
		}
	case vfioGroupSetContainer:
		require.Equal(k.m.t, nodeContainer, k.fds[int(word(0))])
		k.joined = true
	case vfioGroupGetDeviceFD:
		require.True(k.m.t, k.joined)
		require.Equal(k.m.t, "0000:01:00.0\x00", string(arg))
		return k.newFD("device"), nil
	case vfioDeviceBindIOMMUFD:
		require.Equal(k.m.t, nodeIOMMU, k.fds[int(word(2))])
		k.fds[fd] = "device"
	case iommuIOASAlloc:
		native.PutUint32(arg[8:], 77)
	case vfioDeviceAttachPT:
		require.EqualValues(k.m.t, 77, word(2))
		k.joined = true
	case vfioDeviceGetInfo:
		flags := uint32(deviceIsPCI)
		if !k.noReset {
			flags |= deviceResets
		}
		native.PutUint32(arg[4:], flags)
	case vfioDeviceGetRegion:
		k.regionInfo(arg)
	case vfioDeviceGetIRQ:
		counts := map[uint32]uint32{irqMSI: 1, irqMSIX: k.vectors, irqRequest: 1}
		copy(arg[4:], words(irqEventfd, word(2), counts[word(2)]))
	case vfioDeviceSetIRQs:
		return k.setIRQs(arg)
	case vfioDeviceReset:
		k.resets++
		k.config[pciCommand] = 0
	case vfioIOMMUGetInfo:
		k.iommuInfo(arg)
	case iommuIOASIOVARanges:
		return k.ioasRanges(arg)
	case vfioIOMMUMapDMA:
		require.EqualValues(k.m.t, 1|2, word(1), "the device reads and writes it")
		return 0, k.mapDMA(native.Uint64(arg[16:]), native.Uint64(arg[24:]))
	case iommuIOASMap:
		require.EqualValues(k.m.t, 1|2|4, word(1), "at this address, written and read")
		require.EqualValues(k.m.t, 77, word(2))
		return 0, k.mapDMA(native.Uint64(arg[32:]), native.Uint64(arg[24:]))
	case vfioIOMMUUnmapDMA:
		return 0, k.unmapDMA(native.Uint64(arg[8:]), native.Uint64(arg[16:]))
	case iommuIOASUnmap:
		require.EqualValues(k.m.t, 77, word(1))
		return 0, k.unmapDMA(native.Uint64(arg[8:]), native.Uint64(arg[16:]))
	default:
		k.m.t.Errorf("unexpected request %#x", request)
	}
	return 0, nil
}

// regionInfo answers with a chain of capabilities that does not fit the first question.
func (k *fakeKernel) regionInfo(arg []byte) {
	index := native.Uint32(arg[8:])
	info := words(regionInfoBytes, 3, index, 0)
	if index == configRegion {
		info = native.AppendUint64(native.AppendUint64(info, 256), 7<<40)
		copy(arg, info)
		return
	}
	info = native.AppendUint64(native.AppendUint64(info, uint64(len(k.bar))), 0)
	if !k.noMmap {
		native.PutUint32(info[4:], 3|regionMmap)
	}
	if k.sparse != nil {
		native.PutUint32(info[4:], 3|regionMmap|regionHasCaps)
		native.PutUint32(info[12:], regionInfoBytes)
		info = append(info, words(capSparseMmap|1<<16, 0, uint32(len(k.sparse)), 0)...)
		for _, a := range k.sparse {
			info = native.AppendUint64(native.AppendUint64(info, a.offset), a.size)
		}
		info = append(info, make([]byte, 2<<10)...)
		native.PutUint32(info, uint32(len(info)))
	}
	if len(info) > len(arg) {
		native.PutUint32(info[12:], 0)
		info = info[:regionInfoBytes]
	}
	copy(arg, info)
}

func (k *fakeKernel) iommuInfo(arg []byte) {
	info := native.AppendUint64(words(0, 1|iommuHasCaps), 0x1000)
	info = append(info, words(24, 0)...)
	info = append(info, words(capIOVARanges|1<<16, 0, uint32(len(k.ranges)), 0)...)
	for _, r := range k.ranges {
		info = native.AppendUint64(native.AppendUint64(info, r.start), r.last)
	}
	native.PutUint32(info, uint32(len(info)))
	if len(info) > len(arg) {
		native.PutUint32(info[16:], 0)
		info = info[:iommuInfoBytes]
	}
	copy(arg, info)
}

func (k *fakeKernel) ioasRanges(arg []byte) (int, error) {
	require.GreaterOrEqual(k.m.t, int(native.Uint32(arg[8:])), len(k.ranges))
	native.PutUint32(arg[8:], uint32(len(k.ranges)))
	to := *(*unsafe.Pointer)(unsafe.Pointer(&arg[16])) // the address in the structure
	pairs := unsafe.Slice((*uint64)(to), 2*len(k.ranges))
	for i, r := range k.ranges {
		pairs[2*i], pairs[2*i+1] = r.start, r.last
	}
	return 0, nil
}

func (k *fakeKernel) mapDMA(iova, size uint64) error {
	require.True(k.m.t, k.joined)
	require.Zero(k.m.t, iova%uint64(pageSize))
	var locked uint64
	for at, n := range k.mappings {
		require.False(k.m.t, iova < at+n && at < iova+size, "mappings overlap")
		locked += n
	}
	require.True(k.m.t, slices.ContainsFunc(k.ranges, func(r iovaRange) bool { return r.start <= iova && iova+size-1 <= r.last }))
	if locked+size > k.limit {
		return syscall.ENOMEM
	}
	k.mappings[iova] = size
	return nil
}

func (k *fakeKernel) unmapDMA(iova, size uint64) error {
	require.Equal(k.m.t, k.mappings[iova], size)
	delete(k.mappings, iova)
	return nil
}

func (k *fakeKernel) setIRQs(arg []byte) (int, error) {
	flags, index, start, count := native.Uint32(arg[4:]), native.Uint32(arg[8:]), native.Uint32(arg[12:]), native.Uint32(arg[16:])
	none := flags == 1<<0|1<<5 // as in vfio.h: VFIO_IRQ_SET_DATA_NONE, ACTION_TRIGGER
	require.True(k.m.t, none || flags == 1<<2|1<<5, "flags %#x", flags)
	require.Equal(k.m.t, none, count == 0)
	if index == irqRequest {
		require.Zero(k.m.t, start)
		require.Equal(k.m.t, none, k.watched, "told once, and not after that")
		k.watched = !none
		return 0, nil
	}
	require.EqualValues(k.m.t, irqMSIX, index)
	if none {
		k.setUp = 0
		clear(k.signals)
		return 0, nil
	}
	if k.setUp == 0 {
		require.Zero(k.m.t, start)
		if k.granted > 0 && count > k.granted {
			return int(k.granted), nil
		}
		k.setUp = int(count)
	}
	if int(start+count) > k.setUp {
		return -1, syscall.EINVAL
	}
	for i := range int(count) {
		if fd := int(int32(native.Uint32(arg[20+4*i:]))); fd >= 0 {
			k.signals[int(start)+i] = fd
		} else {
			delete(k.signals, int(start)+i)
		}
	}
	return 0, nil
}

// part is where an offset of the device's file lies.
func (k *fakeKernel) part(offset int64) []byte {
	if offset >= 7<<40 {
		return k.config[offset-7<<40:]
	}
	return k.bar[offset:]
}

func (k *fakeKernel) pread(fd int, b []byte, offset int64) error {
	require.Equal(k.m.t, "device", k.fds[fd])
	if err := k.register(offset); err != nil {
		return err
	}
	copy(b, k.part(offset))
	return nil
}

// register counts accesses to registers.
func (k *fakeKernel) register(offset int64) error {
	if offset >= 7<<40 {
		return nil
	}
	k.slow++
	return k.noBAR
}

func (k *fakeKernel) pwrite(fd int, b []byte, offset int64) error {
	require.Equal(k.m.t, "device", k.fds[fd])
	if offset >= 7<<40 && k.noConfig != nil {
		return k.noConfig
	}
	if err := k.register(offset); err != nil {
		return err
	}
	copy(k.part(offset), b)
	return nil
}

func (k *fakeKernel) mapDevice(fd int, offset int64, size int) ([]byte, error) {
	require.Equal(k.m.t, "device", k.fds[fd])
	b := k.bar[offset : int(offset)+size]
	if k.noMaps > 0 && len(k.memory) >= k.noMaps {
		return nil, syscall.ENOMEM
	}
	k.memory[&b[0]] = size
	return b, nil
}

func (k *fakeKernel) mapMemory(size int, huge bool) ([]byte, error) {
	b := aligned(size)
	if huge {
		k.hugeAsked++
		if size > k.hugeLeft {
			return nil, syscall.ENOMEM
		}
		k.hugeLeft -= size
		k.huge[&b[0]] = size
	}
	k.memory[&b[0]] = size
	return b, nil
}

func (k *fakeKernel) unmap(b []byte) error {
	require.Equal(k.m.t, k.memory[&b[0]], len(b))
	delete(k.memory, &b[0])
	k.hugeLeft += k.huge[&b[0]]
	delete(k.huge, &b[0])
	return nil
}

func (k *fakeKernel) eventfd() (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.newFD("eventfd"), nil
}

func (k *fakeKernel) signalled(fd int) bool { return k.requested }

func (k *fakeKernel) lockedLimit() uint64 { return k.limit }

func (k *fakeKernel) owner(string) string { return "owner root, group root, mode 0600" }
