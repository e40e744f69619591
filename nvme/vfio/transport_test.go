package vfio

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blobkv/blobkv/nvme"
	"github.com/stretchr/testify/require"
)

// ways are the kernel's interfaces, each with what its machine has to have.
var ways = map[string]func(m *machine) Options{
	"group": func(*machine) Options { return Options{By: ByGroup} },
	"cdev": func(m *machine) Options {
		m.file("sys/bus/pci/devices/"+one+"/vfio-dev/vfio0/dev", "511:0\n")
		m.file("dev/iommu", "")
		return Options{}
	},
}

// eachWay runs a test on an opened controller, once for each interface.
func eachWay(t *testing.T, prepare func(m *machine), test func(t *testing.T, m *machine, d *Transport)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.device(one, "0x010802", driverVFIO, 7)
			options := way(m)
			prepare(m)
			d, err := m.host.Open(one, options)
			require.NoError(t, err)
			defer func() { require.NoError(t, d.Close()) }()
			test(t, m, d)
		})
	}
}

func asIs(*machine) {}

func TestRegisters(t *testing.T) {
	for name, prepare := range map[string]func(*machine){
		"mapped":   asIs,
		"sparse":   func(m *machine) { m.fake.sparse = []area{{0, 0x1000}, {0x3000, 0x1000}} },
		"unmapped": func(m *machine) { m.fake.noMmap = true },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, prepare, func(t *testing.T, m *machine, d *Transport) {
				require.Equal(t, one, d.Name())
				v, err := d.Load64(0)
				require.NoError(t, err)
				require.EqualValues(t, 0x4018200f0107ff, v)
				require.NoError(t, d.Store64(0x28, 0x1122334455667788))
				require.NoError(t, d.Store32(0x14, 0x460001))
				require.NoError(t, d.Store32(0x1000, 7), "behind what is mapped")
				for offset, want := range map[uint32]uint32{0x28: 0x55667788, 0x2c: 0x11223344, 0x14: 0x460001, 0x18: 0, 0x1000: 7} {
					v, err := d.Load32(offset)
					require.NoError(t, err)
					require.Equal(t, want, v)
				}
				for _, bad := range []uint32{2, 0x4000, 0x3ffe, 1<<32 - 4, 0x2000, 0x240c, 0x3000} {
					_, err := d.Load32(bad)
					require.ErrorIs(t, err, ErrBadAccess, "%#x", bad)
					require.ErrorIs(t, d.Store32(bad, 1), ErrBadAccess)
				}
				require.ErrorIs(t, d.Store64(4, 1), ErrBadAccess)
				if name == "mapped" {
					require.Zero(t, m.fake.slow, "a system call for a register that is memory")
				}
				for _, last := range []uint32{0x3ffc, 0x1ffc, 0x2410, 0x3010} { // of the BAR, before and behind what the kernel keeps
					_, err := d.Load32(last)
					require.NoError(t, err)
				}
			})
		})
	}
}

func TestWindow(t *testing.T) {
	eachWay(t, func(m *machine) { m.fake.sparse = []area{{0, 0x2000}, {0x3000, 0x1000}} }, func(t *testing.T, m *machine, d *Transport) {
		w := d.Window(0x1000, 0x100)
		require.Len(t, w, 0x100)
		store32(w[8:], 42)
		v, err := d.Load32(0x1008)
		require.NoError(t, err)
		require.EqualValues(t, 42, v)
		require.Nil(t, d.Window(0x1f00, 0x200), "not mapped in one piece")
		require.Nil(t, d.Window(0x3000, 8), "the pending bits of MSI-X")
		require.NotNil(t, d.Window(0x3010, 8))
		require.Nil(t, d.Window(0x10000, 8))
		require.Nil(t, d.Window(0, -1))
		require.Nil(t, d.Window(0, 0))
		require.Len(t, d.Window(0x1000, 0x1000), 0x1000, "up to the end of a map")
		require.Len(t, d.Window(0x3010, 0xff0), 0xff0)
		require.Nil(t, d.Window(0x3010, 0xff1))
		require.Nil(t, d.Window(0x2800, 8), "between two maps")
	})
}

// TestPartsOfMaps: what is mapped is handed out from the map that holds all of it, and nothing beside it.
func TestPartsOfMaps(t *testing.T) {
	b := &bar{maps: []mapping{{area{0x1000, 0x1000}, make([]byte, 0x1000)}, {area{0x3000, 0x1000}, make([]byte, 0x1000)}}}
	for i, m := range b.maps {
		m.bytes[0], m.bytes[0xfff] = byte(2*i+1), byte(2*i+2)
	}
	for at, want := range map[uint64]byte{0x1000: 1, 0x1fff: 2, 0x3000: 3, 0x3fff: 4} {
		require.Equal(t, []byte{want}, b.mapped(at, 1), "%#x", at)
	}
	for _, at := range []uint64{0, 0xfff, 0x2000, 0x2fff, 0x4000, 1<<64 - 1} {
		require.Nil(t, b.mapped(at, 1), "%#x", at)
	}
	require.Len(t, b.mapped(0x3000, 0x1000), 0x1000)
	require.Nil(t, b.mapped(0x3001, 0x1000))
	require.Nil(t, b.mapped(0xfff, 0x1000))
}

func TestMemory(t *testing.T) {
	eachWay(t, func(m *machine) { m.fake.hugeLeft = 4 << 20 }, func(t *testing.T, m *machine, d *Transport) {
		a, err := d.Alloc(100)
		require.NoError(t, err)
		require.Len(t, a.Bytes, 100)
		require.Equal(t, Memory{Allocated: int64(pageSize)}, d.Memory())
		b, err := d.Alloc(2<<20 - 5)
		require.NoError(t, err)
		require.Zero(t, b.IOVA%hugePage)
		require.Equal(t, Memory{Allocated: int64(pageSize) + 2<<20, Huge: 2 << 20}, d.Memory())
		small, err := d.Alloc(4 << 20) // none left: small pages
		require.NoError(t, err)
		require.Equal(t, Memory{Allocated: int64(pageSize) + 6<<20, Huge: 2 << 20}, d.Memory())
		require.NoError(t, d.Free(a))
		require.Equal(t, a.IOVA, alloc(t, d, 1).IOVA, "addresses are used again")
		require.ErrorIs(t, d.Free(a), ErrBadAccess)
		require.ErrorIs(t, d.Free(nvme.DMA{Bytes: b.Bytes, IOVA: 1}), ErrBadAccess)
		require.NoError(t, d.Free(small))
		asked := m.fake.hugeAsked
		alloc(t, d, 2<<20)
		require.Equal(t, asked, m.fake.hugeAsked, "none was left a moment ago")
		require.NoError(t, d.Free(b))
		require.Equal(t, Memory{Allocated: int64(pageSize) + 2<<20}, d.Memory())
		alloc(t, d, 2<<20-256<<10)
		require.EqualValues(t, 2<<20, d.Memory().Huge, "there is one again, and an eighth of it may be lost")
		alloc(t, d, 2<<20-256<<10-1)
		require.EqualValues(t, 2<<20, d.Memory().Huge, "not more")
		require.ErrorIs(t, d.Free(nvme.DMA{}), ErrBadAccess)

		mine := aligned(3 * pageSize)
		iova, err := d.Map(mine)
		require.NoError(t, err)
		require.Contains(t, m.fake.mappings, iova)
		_, err = d.Map(mine)
		require.ErrorIs(t, err, ErrBadAccess)
		for _, bad := range [][]byte{nil, mine[1:], mine[1:][:pageSize], mine[:pageSize+1]} {
			_, err = d.Map(bad)
			require.ErrorIs(t, err, nvme.ErrNotShareable)
		}
		require.EqualValues(t, 3*pageSize, d.Memory().Mapped)
		require.ErrorIs(t, d.Unmap(mine[:pageSize]), ErrBadAccess)
		require.ErrorIs(t, d.Unmap(nil), ErrBadAccess)
		require.NoError(t, d.Unmap(mine))
		require.Zero(t, d.Memory().Mapped)
		require.ErrorIs(t, d.Unmap(mine), ErrBadAccess)
		_, err = d.Map(mine) // left for Close
		require.NoError(t, err)
		for _, size := range []int{0, -1, math.MaxInt32 + 1} {
			_, err = d.Alloc(size)
			require.ErrorIs(t, err, ErrBadAccess)
		}
	})
}

func alloc(t *testing.T, d *Transport, size int) nvme.DMA {
	t.Helper()
	m, err := d.Alloc(size)
	require.NoError(t, err)
	return m
}

func TestLockedMemory(t *testing.T) {
	eachWay(t, func(m *machine) { m.fake.limit = 64 << 10 }, func(t *testing.T, m *machine, d *Transport) {
		mine := aligned(pageSize)
		_, err := d.Map(mine)
		require.NoError(t, err)
		require.ErrorContains(t, func() error { _, err := d.Alloc(64 << 10); return err }(), "needed 68 KiB (4 KiB are locked")
		require.NoError(t, d.Unmap(mine))
		a := alloc(t, d, 60<<10)
		_, err = d.Alloc(8 << 10)
		require.ErrorIs(t, err, ErrLockedMemory)
		require.ErrorContains(t, err, "limit 64 KiB, needed 68 KiB (60 KiB are locked")
		require.ErrorContains(t, err, "ulimit -l")
		b, err := d.Alloc(4 << 10)
		require.NoError(t, err)
		require.Equal(t, a.IOVA+60<<10, b.IOVA, "nor the addresses of what failed")
		require.NoError(t, d.Free(a))
		_, err = d.Alloc(8 << 10)
		require.NoError(t, err, "what failed must not stay taken")
	})
}

func TestKindsOfMemory(t *testing.T) {
	for errno, want := range map[error]error{syscall.EFAULT: nvme.ErrNotShareable, syscall.EINVAL: nvme.ErrNotShareable,
		syscall.EOPNOTSUPP: nvme.ErrNotShareable, syscall.ENOSPC: ErrNoSpace, syscall.EIO: ErrKernel, syscall.ENOMEM: ErrKernel} {
		eachWay(t, func(m *machine) {
			m.fake.limit = math.MaxUint64 // none, so locked memory is not what is missing
			m.fake.fails[uint(vfioIOMMUMapDMA)] = errno
			m.fake.fails[uint(iommuIOASMap)] = errno
		}, func(t *testing.T, m *machine, d *Transport) {
			_, err := d.Map(aligned(pageSize))
			require.ErrorIs(t, err, want)
			require.ErrorIs(t, err, errno)
			require.ErrorContains(t, err, "4 KiB")
		})
	}
}

func TestInterrupts(t *testing.T) {
	eachWay(t, asIs, func(t *testing.T, m *machine, d *Transport) {
		require.Equal(t, 65, d.Vectors())
		require.NoError(t, d.Interrupt(3, 900))
		require.NoError(t, d.Interrupt(4, -1))
		require.Equal(t, map[int]int{3: 900}, m.fake.signals, "another one ends nothing")
		require.NoError(t, d.Interrupt(0, 901))
		require.NoError(t, d.Interrupt(64, 902))
		require.Equal(t, map[int]int{3: 900, 0: 901, 64: 902}, m.fake.signals)
		require.Equal(t, 65, m.fake.setUp)
		require.NoError(t, d.Interrupt(3, -1))
		require.NoError(t, d.Interrupt(3, -1))
		require.Equal(t, map[int]int{0: 901, 64: 902}, m.fake.signals)
		require.NoError(t, d.Interrupt(0, -1))
		require.NoError(t, d.Interrupt(64, -1))
		require.Zero(t, m.fake.setUp, "switched off with the last")
		require.NoError(t, d.Interrupt(1, 903), "and on again")
		require.ErrorIs(t, d.Interrupt(65, 1), ErrBadAccess)
		require.ErrorIs(t, d.Interrupt(-1, 1), ErrBadAccess)
	})
	eachWay(t, func(m *machine) { m.fake.granted = 9 }, func(t *testing.T, m *machine, d *Transport) {
		require.ErrorIs(t, d.Interrupt(20, 900), ErrNoSpace)
		require.ErrorIs(t, d.Interrupt(9, 900), ErrNoSpace, "the first that is not granted")
		require.NoError(t, d.Interrupt(8, 900))
		require.ErrorIs(t, d.Interrupt(9, 900), ErrNoSpace)
	})
	eachWay(t, func(m *machine) { m.fake.vectors = 2048 }, func(t *testing.T, m *machine, d *Transport) {
		require.Equal(t, 256, d.Vectors(), "the kernel sets up all at once")
	})
	eachWay(t, func(m *machine) {
		m.fake.answers[vfioDeviceGetIRQ] = func(arg []byte) (int, error) { native.PutUint32(arg[12:], 8); return 0, nil }
	}, func(t *testing.T, m *machine, d *Transport) {
		require.Zero(t, d.Vectors(), "there are some, of which none signals an eventfd")
		require.NotContains(t, slices.Collect(maps.Values(m.fake.fds)), "eventfd", "nor does a hot removal")
		m.fake.requested = true
		_, err := d.Load32(8)
		require.NoError(t, err, "of which the kernel does not tell")
	})
	eachWay(t, asIs, func(t *testing.T, m *machine, d *Transport) {
		m.fake.answers[vfioDeviceSetIRQs] = func(arg []byte) (int, error) { return 65, nil }
		require.ErrorIs(t, d.Interrupt(0, 900), ErrBadReply, "more left than were asked for, and none set up")
		delete(m.fake.answers, vfioDeviceSetIRQs)
	})
	eachWay(t, asIs, func(t *testing.T, m *machine, d *Transport) {
		refuse := func(err error) { m.fake.fails[uint(vfioDeviceSetIRQs)] = err }
		refuse(syscall.EIO)
		require.ErrorIs(t, d.Interrupt(0, 900), ErrKernel, "the first")
		refuse(nil)
		require.NoError(t, d.Interrupt(0, 900))
		refuse(syscall.EIO)
		require.ErrorIs(t, d.Interrupt(1, 901), ErrKernel, "a further one")
		require.ErrorIs(t, d.Interrupt(0, -1), ErrKernel, "the end of one")
		refuse(nil)
		require.NoError(t, d.Interrupt(0, -1), "which was set still")
		require.Empty(t, m.fake.signals)
	})
	eachWay(t, func(m *machine) { m.fake.vectors = 0 }, func(t *testing.T, m *machine, d *Transport) {
		require.Equal(t, 1, d.Vectors(), "MSI")
	})
}

// TestMask changes the mask bit of one entry and nothing else, wherever the table lies.
func TestMask(t *testing.T) {
	for name, prepare := range map[string]func(*machine){
		"BAR 0": asIs,
		"BAR 4": func(m *machine) { m.fake.config[0x54] |= 4 },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, prepare, func(t *testing.T, m *machine, d *Transport) {
				entry := m.fake.bar[0x2000+5*msixEntryBytes:][:msixEntryBytes]
				copy(entry, "address.data")
				little.PutUint32(entry[msixControl:], 0x770000)
				before := slices.Clone(m.fake.bar)
				require.True(t, d.Masks())
				require.NoError(t, d.Interrupt(5, 900))
				require.NoError(t, d.Mask(5, true))
				require.EqualValues(t, 0x770001, little.Uint32(entry[msixControl:]))
				require.NoError(t, d.Mask(5, false))
				require.Equal(t, before, m.fake.bar)
				_, err := d.Load32(0x2000)
				require.Equal(t, name == "BAR 0", errors.Is(err, ErrBadAccess), "the kernel's where the table is, a register elsewhere")
				require.ErrorIs(t, d.Mask(65, true), ErrBadAccess)
				require.ErrorIs(t, d.Mask(-1, true), ErrBadAccess)
				little.PutUint32(entry[msixControl:], 0x770001) // the kernel moves the interrupt just now
				require.NoError(t, d.Interrupt(5, 900))
				require.NoError(t, d.Mask(5, false))
				require.EqualValues(t, 0x770000, little.Uint32(entry[msixControl:]), "masked for ever")
			})
		})
	}
	for name, prepare := range map[string]func(*machine){
		"table at the end of its BAR":    func(m *machine) { m.fake.config[0x54] |= 4; m.fake.config[0x55] = 0x30 },
		"table and bits in another BAR":  func(m *machine) { m.fake.config[0x54] |= 4; m.fake.config[0x58] |= 4 },
		"fewer vectors than its entries": func(m *machine) { m.fake.vectors = 4 },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, prepare, func(t *testing.T, m *machine, d *Transport) {
				require.NoError(t, d.Interrupt(0, 900))
				require.NoError(t, d.Mask(0, true))
				if m.fake.config[0x58]&4 != 0 {
					_, err := d.Load32(0x3000)
					require.NoError(t, err, "no bits there")
				}
				if m.fake.vectors == 4 {
					require.ErrorIs(t, d.Mask(4, true), ErrBadAccess)
				}
			})
		})
	}
	eachWay(t, func(m *machine) { m.fake.config[0x52] = 3 }, func(t *testing.T, m *machine, d *Transport) { // a table of 4 for 65 vectors
		require.NoError(t, d.Interrupt(4, 900))
		require.ErrorIs(t, d.Mask(4, true), ErrBadAccess)
	})
	for name, prepare := range map[string]func(*machine){
		"not mapped":             func(m *machine) { m.fake.noMmap = true },
		"the kernel keeps it":    func(m *machine) { m.fake.sparse = []area{{0, 0x1000}, {0x3000, 0x1000}} },
		"beyond its BAR":         func(m *machine) { m.fake.config[0x56] = 1 },
		"in no BAR":              func(m *machine) { m.fake.config[0x54] |= 7 },
		"in the ROM":             func(m *machine) { m.fake.config[0x54] |= 6 },
		"no capability":          func(m *machine) { m.fake.config[0x50] = 5 },
		"BAR 4, not mapped":      func(m *machine) { m.fake.config[0x54] |= 4; m.fake.noMmap = true },
		"BAR 4, kernel keeps it": func(m *machine) { m.fake.config[0x54] |= 4; m.fake.sparse = []area{{0, 0x1000}} },
		"beyond another BAR":     func(m *machine) { m.fake.config[0x54] |= 4; m.fake.config[0x56] = 1 },
		"MSI, of another number": func(m *machine) { m.fake.vectors = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, prepare, func(t *testing.T, m *machine, d *Transport) {
				require.False(t, d.Masks())
				require.ErrorIs(t, d.Mask(0, true), ErrBadAccess)
				if m.fake.vectors > 0 {
					require.NoError(t, d.Interrupt(0, 900), "which is no reason to do without")
				}
			})
		})
	}
}

func TestReset(t *testing.T) {
	eachWay(t, asIs, func(t *testing.T, m *machine, d *Transport) {
		require.NoError(t, d.Reset())
		require.Equal(t, 1, m.fake.resets)
		require.EqualValues(t, commandMemory|commandBusMaster|commandNoINTx, little.Uint16(m.fake.config[pciCommand:]))
		for errno, unsupported := range map[error]bool{syscall.ENOTTY: true, syscall.EINVAL: true, syscall.EIO: false} {
			m.fake.fails[uint(vfioDeviceReset)] = errno
			require.ErrorIs(t, d.Reset(), errno)
			require.Equal(t, unsupported, errors.Is(d.Reset(), nvme.ErrUnsupported), "%v: the driver has to know that there is no such reset", errno)
		}
	})
	eachWay(t, func(m *machine) { m.fake.noReset = true }, func(t *testing.T, m *machine, d *Transport) {
		require.ErrorIs(t, d.Reset(), nvme.ErrUnsupported)
	})
}

// TestRemoval checks that a device that is not there any more is found out by any register, and stays gone.
func TestRemoval(t *testing.T) {
	for name, take := range map[string]func(k *fakeKernel){
		"all ones": func(k *fakeKernel) {
			for i := range k.bar {
				k.bar[i] = 0xff
			}
		},
		"all zeros": func(k *fakeKernel) { clear(k.bar) },
		"wanted":    func(k *fakeKernel) { k.requested = true },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, asIs, func(t *testing.T, m *machine, d *Transport) {
				require.NoError(t, d.Store32(0x14, 1<<32-1)) // a register may well be all ones
				v, err := d.Load32(0x14)
				require.NoError(t, err)
				require.EqualValues(t, uint32(1<<32-1), v)
				take(m.fake)
				_, err = d.Load32(0x1c)
				require.ErrorIs(t, err, nvme.ErrGone)
				m.fake.requested = false
				_, err = d.Alloc(1)
				require.ErrorIs(t, err, nvme.ErrGone)
				require.ErrorIs(t, d.Store32(0x14, 0), nvme.ErrGone)
				require.ErrorIs(t, d.Interrupt(0, 1), nvme.ErrGone)
				require.Nil(t, d.Window(0, 8))
				m.fake.noConfig = syscall.EIO
				require.NoError(t, d.Close(), "there is nothing left to silence")
			})
		})
	}
}

// TestRegistersFail: a device whose registers cannot be read or written any more is gone, and stays gone.
func TestRegistersFail(t *testing.T) {
	for name, access := range map[string]func(d *Transport) error{
		"Load32":  func(d *Transport) error { _, err := d.Load32(0x1c); return err },
		"Load64":  func(d *Transport) error { _, err := d.Load64(0); return err },
		"Store32": func(d *Transport) error { return d.Store32(0x14, 1) },
		"Store64": func(d *Transport) error { return d.Store64(0x28, 1) },
		"Reset":   func(d *Transport) error { return d.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(m *machine) { m.fake.noMmap = true }, func(t *testing.T, m *machine, d *Transport) {
				m.fake.noBAR = syscall.EIO
				require.ErrorIs(t, access(d), nvme.ErrGone)
				m.fake.noBAR = nil
				require.ErrorContains(t, access(d), "it was removed")
			})
		})
	}
}

// TestKernelKeepsMemory: what the IOMMU does not let go of keeps its address and stays memory of nobody else, also after Close.
func TestKernelKeepsMemory(t *testing.T) {
	eachWay(t, asIs, func(t *testing.T, m *machine, d *Transport) {
		mine := aligned(pageSize)
		own, err := d.Alloc(4096)
		require.NoError(t, err)
		_, err = d.Map(mine)
		require.NoError(t, err)
		m.fake.fails[uint(vfioIOMMUUnmapDMA)], m.fake.fails[uint(iommuIOASUnmap)] = syscall.EIO, syscall.EIO
		require.ErrorIs(t, d.Free(own), ErrKernel)
		require.ErrorIs(t, d.Unmap(mine), ErrKernel)
		_, err = d.Alloc(4096) // at other addresses, or the machine complains
		require.NoError(t, err)
		require.ErrorIs(t, d.Close(), ErrKernel)
		require.Contains(t, m.fake.memory, &own.Bytes[0], "the process could put anything there")
		require.Equal(t, Memory{Allocated: 2 * int64(pageSize), Mapped: int64(pageSize)}, d.Memory(), "the controller may reach it still")
		clear(m.fake.memory)
		clear(m.fake.mappings)
	})
}

func TestClose(t *testing.T) {
	eachWay(t, asIs, func(t *testing.T, m *machine, d *Transport) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					if _, err := d.Load32(8); err != nil {
						require.ErrorIs(t, err, nvme.ErrGone)
						return
					}
				}
			})
		}
		alloc(t, d, 1<<20)
		_, err := d.Map(aligned(pageSize))
		require.NoError(t, err)
		require.NoError(t, d.Interrupt(1, 5))
		require.NoError(t, d.Close())
		wg.Wait()
		require.Zero(t, m.fake.setUp)
		require.Zero(t, d.Memory())
		require.ErrorIs(t, d.Reset(), nvme.ErrGone)
		require.ErrorContains(t, d.Reset(), "it was closed")
		require.ErrorIs(t, d.Unmap(nil), nvme.ErrGone)
	})
}

// TestOpenRefuses lets each step of opening fail. Nothing stays open or mapped, which every machine checks at its end.
func TestOpenRefuses(t *testing.T) {
	type failure struct {
		what any
		err  error
		want error
		text string
	}
	for way, list := range map[string][]failure{
		"group": {
			{nodeContainer, syscall.ENOENT, ErrNotLoaded, "modprobe vfio-pci"},
			{"/dev/vfio/7", syscall.EACCES, ErrPermission, "owner root, group root, mode 0600"},
			{"/dev/vfio/7", syscall.EBUSY, ErrInUse, "another process"},
			{"/dev/vfio/7", syscall.ENOENT, ErrNotLoaded, "/dev/vfio/7"},
			{nodeContainer, syscall.ENXIO, ErrNotLoaded, "modprobe vfio-pci"},
			{nodeContainer, syscall.ENODEV, ErrNotLoaded, "modprobe vfio-pci"},
			{nodeContainer, syscall.EIO, ErrKernel, nodeContainer},
			{uint(vfioCheckExtension), syscall.EINVAL, ErrKernel, ""},
			{uint(vfioSetIOMMU), syscall.EPERM, ErrNoIOMMU, "interrupt"},
			{uint(vfioSetIOMMU), syscall.EIO, ErrKernel, ""},
			{uint(vfioGroupSetContainer), syscall.EIO, ErrKernel, ""},
			{uint(vfioGroupGetStatus), syscall.EIO, ErrKernel, ""},
			{uint(vfioGroupGetDeviceFD), syscall.ENODEV, ErrKernel, ""},
			{uint(vfioGetAPIVersion), syscall.EIO, ErrKernel, ""},
			{uint(vfioIOMMUGetInfo), syscall.EIO, ErrKernel, ""},
			{uint(vfioDeviceGetInfo), syscall.EIO, ErrKernel, ""},
			{uint(vfioDeviceGetRegion), syscall.EIO, ErrKernel, ""},
			{uint(vfioDeviceGetIRQ), syscall.EIO, ErrKernel, ""},
		},
		"cdev": {
			{nodeIOMMU, syscall.ENOENT, ErrNotLoaded, "modprobe iommufd"},
			{"/dev/vfio/devices/vfio0", syscall.EPERM, ErrPermission, "chown"},
			{uint(vfioDeviceBindIOMMUFD), syscall.EBUSY, ErrInUse, ""},
			{uint(vfioDeviceBindIOMMUFD), syscall.EPERM, ErrNoIOMMU, "interrupt"},
			{uint(vfioDeviceBindIOMMUFD), syscall.EIO, ErrKernel, ""},
			{uint(iommuIOASAlloc), syscall.ENOMEM, ErrKernel, ""},
			{uint(vfioDeviceAttachPT), syscall.EIO, ErrKernel, ""},
			{uint(iommuIOASIOVARanges), syscall.EIO, ErrKernel, ""},
		},
	} {
		for _, f := range list {
			m := newMachine(t)
			m.device(one, "0x010802", driverVFIO, 7)
			options := ways[way](m)
			m.fake.fails[f.what] = f.err
			_, err := m.host.Open(one, options)
			require.ErrorIs(t, err, f.want, "%v", f.what)
			require.ErrorIs(t, err, f.err)
			require.ErrorContains(t, err, f.text)
			require.ErrorContains(t, err, one)
		}
	}
}

// TestOpenDistrusts has the kernel and the device answer what cannot be, or cannot be used. Nothing stays open or mapped.
func TestOpenDistrusts(t *testing.T) {
	const huge = 1 << 30
	says := func(request uint, words ...uint32) func(*machine) { // the structure begins with these
		return func(m *machine) {
			m.fake.answers[request] = func(arg []byte) (int, error) {
				for i, w := range words {
					native.PutUint32(arg[4*i:], w)
				}
				return 0, nil
			}
		}
	}
	fails := func(request uint, err error) func(*machine) { return func(m *machine) { m.fake.fails[request] = err } }
	shared := func(m *machine) { m.device("0000:01:00.1", "0x020000", "e1000e", 7) }
	for name, c := range map[string]struct {
		way     string
		prepare func(m *machine)
		want    error
		text    string
	}{
		"another interface": {"group", func(m *machine) {
			m.fake.answers[vfioGetAPIVersion] = func([]byte) (int, error) { return 1, nil }
		}, nvme.ErrUnsupported, "version 1"},
		"no IOMMU":            {"group", func(m *machine) { m.file("sys/kernel/iommu_groups/7/name", "vfio-noiommu\n") }, ErrNoIOMMU, "no-IOMMU mode"},
		"no PCI device":       {"cdev", says(vfioDeviceGetInfo, deviceInfoBytes, deviceResets), ErrBadReply, "no PCI device"},
		"endless region":      {"cdev", says(vfioDeviceGetRegion, huge), ErrBadReply, "bytes of information"},
		"endless IOMMU":       {"group", says(vfioIOMMUGetInfo, huge), ErrBadReply, "about an IOMMU"},
		"IOMMU without space": {"group", says(vfioIOMMUGetInfo, iommuInfoBytes, 0), nvme.ErrUnsupported, "Linux 5.4"},
		"many vectors":        {"cdev", says(vfioDeviceGetIRQ, irqInfoBytes, irqEventfd, 0, 2049), ErrBadReply, "2049 interrupt vectors"},
		"small BAR":           {"group", func(m *machine) { m.fake.bar = m.fake.bar[:0x800] }, ErrBadReply, "too few"},
		"unmappable part": {"cdev", func(m *machine) {
			m.fake.sparse, m.fake.noMaps = []area{{0, 0x1000}, {0x3000, 0x1000}}, 1
		}, ErrKernel, "at 0x3000"},
		"no removal event": {"group", fails(vfioDeviceSetIRQs, syscall.EIO), ErrKernel, "hot removal"},
		"no bus master":    {"cdev", func(m *machine) { m.fake.noConfig = syscall.EIO }, ErrKernel, "command register"},
		"busy group": {"cdev", func(m *machine) {
			shared(m)
			fails(vfioDeviceBindIOMMUFD, syscall.EBUSY)(m)
		}, ErrNotViable, "0000:01:00.1 (driver e1000e)"},
		"group of another": {"cdev", fails(vfioDeviceBindIOMMUFD, syscall.EINVAL), ErrInUse, "another process"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.device(one, "0x010802", driverVFIO, 7)
			options := ways[c.way](m)
			c.prepare(m)
			_, err := m.host.Open(one, options)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.text)
			require.ErrorContains(t, err, one)
		})
	}
}

// TestOpenBy: without being told, the character device is taken where there are both it and iommufd, the group otherwise.
func TestOpenBy(t *testing.T) {
	for _, c := range []struct {
		by            By
		device, iommu bool
		want          string
	}{
		{ByAny, true, true, nodeIOMMU}, {ByAny, true, false, nodeContainer}, {ByAny, false, true, nodeContainer},
		{ByGroup, true, true, nodeContainer}, {ByCDev, true, false, nodeIOMMU}, {ByCDev, false, true, ""},
	} {
		m := newMachine(t)
		m.device(one, "0x010802", driverVFIO, 7)
		if c.device {
			m.file("sys/bus/pci/devices/"+one+"/vfio-dev/vfio0/dev", "511:0\n")
		}
		if c.iommu {
			m.file("dev/iommu", "")
		}
		d, err := m.host.Open(one, Options{By: c.by})
		if c.want == "" {
			require.ErrorIs(t, err, nvme.ErrUnsupported)
			continue
		}
		require.NoError(t, err)
		require.Contains(t, slices.Collect(maps.Values(m.fake.fds)), c.want, "%+v", c)
		require.NoError(t, d.Close())
	}
}

func TestOpenNeedsVFIO(t *testing.T) {
	for driver, text := range map[string]string{"nvme": "bound to nvme;", "": "bound to no driver"} {
		m := newMachine(t)
		m.device(one, "0x010802", driver, 7)
		_, err := m.host.Open(one, Options{})
		require.ErrorIs(t, err, ErrBoundElsewhere)
		require.ErrorContains(t, err, text)
		require.ErrorContains(t, err, "blobcli nvme bind "+one)
	}
	m := newMachine(t)
	m.device(one, "0x010802", driverVFIO, 7)
	m.folder("sys/bus/pci/devices/" + one + "/vfio-dev/vfio0") // as Linux 6.1 has it
	_, err := m.host.Open(one, Options{By: ByCDev})
	require.ErrorIs(t, err, nvme.ErrUnsupported)
	m.fake.noType1 = true
	_, err = m.host.Open(one, Options{})
	require.ErrorIs(t, err, ErrNotLoaded)
	require.ErrorContains(t, err, "modprobe vfio_iommu_type1")
	m.fake.noType1, m.fake.notViable = false, true
	_, err = m.host.Open(one, Options{})
	require.ErrorIs(t, err, ErrNotViable)
	m.device("0000:01:00.1", "0x020000", "e1000e", 7)
	_, err = m.host.Open(one, Options{})
	require.ErrorContains(t, err, "0000:01:00.1 (driver e1000e)")
	m.fake.fails["/dev/vfio/7"] = syscall.EBUSY
	m.process(99, "blobcli", "/dev/vfio/7")
	_, err = m.host.Open(one, Options{})
	require.ErrorContains(t, err, "open in process 99 (blobcli)")
	m.host.check = func() error { return nvme.ErrUnsupported }
	_, err = m.host.Open(one, Options{})
	require.ErrorIs(t, err, nvme.ErrUnsupported)
}

func TestAddresses(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	ranges := []iovaRange{{0, 0x1fffff}, {0x300000, 0x6fffff}, {0x1000000, 1<<64 - 1}}
	a := newAddresses(ranges)
	whole := append([]iovaRange(nil), a.free...)
	taken := map[uint64]uint64{}
	for range 20000 {
		if rng.IntN(2) == 0 && len(taken) > 0 {
			for at := range taken {
				a.release(at)
				delete(taken, at)
				break
			}
			continue
		}
		size, align := uint64(1+rng.IntN(600))<<12, uint64(1)<<(12+rng.IntN(10))
		at, err := a.take(size, align)
		require.NoError(t, err)
		require.Zero(t, at%align)
		require.GreaterOrEqual(t, at, uint64(lowestIOVA))
		inside := false
		for _, r := range ranges {
			inside = inside || r.start <= at && at+size-1 <= r.last
		}
		require.True(t, inside)
		for o, n := range taken {
			require.False(t, at < o+n && o < at+size, "%#x+%#x and %#x+%#x", at, size, o, n)
		}
		taken[at] = size
	}
	for at := range taken {
		a.release(at)
	}
	a.release(12345) // never taken
	require.Equal(t, whole, a.free, "everything joins again")
	for _, r := range []iovaRange{{0, 0x1fffff}, {1<<64 - 0x3000, 1<<64 - 1}} {
		_, err := newAddresses([]iovaRange{r}).take(2<<20, hugePage)
		require.ErrorIs(t, err, ErrNoSpace)
	}
}

// TestAddressesAtTheirEnds takes ranges whole, of which nothing is left then.
func TestAddressesAtTheirEnds(t *testing.T) {
	a := newAddresses([]iovaRange{{0, lowestIOVA - 1}, {lowestIOVA + 0x3000, lowestIOVA + 0x5fff}})
	whole := []iovaRange{{lowestIOVA + 0x3000, lowestIOVA + 0x5fff}}
	require.Equal(t, whole, a.free, "the lowest ones are of no use")
	at, err := a.take(0x3000, 0x1000)
	require.NoError(t, err)
	require.EqualValues(t, lowestIOVA+0x3000, at)
	_, err = a.take(1, 1)
	require.ErrorIs(t, err, ErrNoSpace)
	a.release(at)
	a.release(at) // twice
	require.Equal(t, whole, a.free)
	one := newAddresses([]iovaRange{{0, lowestIOVA}})
	at, err = one.take(1, 1)
	require.NoError(t, err)
	require.EqualValues(t, lowestIOVA, at)
}

// TestManyRanges: what the kernel says about the IOMMU does not fit the first question.
func TestManyRanges(t *testing.T) {
	eachWay(t, func(m *machine) {
		m.fake.ranges = nil
		for i := range uint64(maxIOVARanges) {
			m.fake.ranges = append(m.fake.ranges, iovaRange{(i + 1) << 24, (i+1)<<24 + 0xfff})
		}
	}, func(t *testing.T, m *machine, d *Transport) {
		for range maxIOVARanges {
			alloc(t, d, 4096)
		}
		_, err := d.Alloc(1)
		require.ErrorIs(t, err, ErrNoSpace)
	})
}

// TestErrorsSpeak keeps messages free of empty parts.
func TestErrorsSpeak(t *testing.T) {
	m := newMachine(t)
	m.device(one, "0x010802", "", 7)
	_, err := m.host.Open(one, Options{})
	require.False(t, strings.Contains(err.Error(), "%!"), err)
	require.False(t, errors.Is(err, ErrKernel))
}
