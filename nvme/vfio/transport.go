package vfio

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/blobkv/blobkv/nvme"
)

// Transport is a controller behind vfio. Any goroutine may call any method.
type Transport struct {
	name   string
	kernel kernel
	fd     int          // the device
	free   func() error // closes what the device was opened through
	resets bool         // the function can be reset
	bar    *bar
	table  *vectorTable // nil: interrupts cannot be masked
	config configSpace
	dma    *dmaSpace
	irqs   *interrupts
	gone   atomic.Bool // the controller was removed

	mu struct {
		sync.RWMutex // read: the device is used; write: it is closed
		closed       bool
	}
}

var (
	_ nvme.Transport = (*Transport)(nil)
	_ nvme.Masker    = (*Transport)(nil)
)

// newTransport prepares an opened device. On failure the caller closes what it opened.
func newTransport(k kernel, name string, fd int, mmu iommu, free func() error) (*Transport, error) {
	t := &Transport{name: name, kernel: k, fd: fd, free: free}
	info := words(deviceInfoBytes, 0, 0, 0, 0)
	if _, err := k.ioctl(fd, vfioDeviceGetInfo, info); err != nil {
		return nil, fmt.Errorf("%s: what the device is: %w: %w", name, ErrKernel, err)
	}
	if flags := native.Uint32(info[4:]); flags&deviceIsPCI == 0 {
		return nil, fmt.Errorf("%s: vfio says that it is no PCI device (flags %#x): %w", name, flags, ErrBadReply)
	} else {
		t.resets = flags&deviceResets != 0
	}
	ranges, err := mmu.ranges()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.dma = newDMASpace(k, mmu, ranges)
	if err := t.openRegions(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if t.irqs, err = newInterrupts(k, fd); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), t.closeRegions())
	}
	if err := t.config.enable(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), t.irqs.close(), t.closeRegions())
	}
	return t, nil
}

// openRegions finds the configuration space and maps the registers.
func (t *Transport) openRegions() error {
	config, err := readRegion(t.kernel, t.fd, configRegion)
	if err != nil {
		return err
	}
	t.config = configSpace{t.kernel, t.fd, config}
	vectors, err := t.config.msix()
	if err != nil {
		return err
	}
	registers, err := readRegion(t.kernel, t.fd, barRegion)
	if err != nil {
		return err
	}
	if t.bar, err = openBAR(t.kernel, t.fd, registers, vectors.inBAR(barRegion)); err != nil {
		return err
	}
	t.table = t.openTable(vectors)
	return nil
}

func (t *Transport) closeRegions() error { return errors.Join(t.table.close(), t.bar.close()) }

// Name is the PCI address.
func (t *Transport) Name() string { return t.name }

// use keeps the transport open until the returned function is called.
func (t *Transport) use() (done func(), err error) {
	t.mu.RLock()
	if t.mu.closed || t.gone.Load() {
		why := "it was removed"
		if t.mu.closed {
			why = "it was closed"
		}
		t.mu.RUnlock()
		return nil, fmt.Errorf("%s: %w", why, nvme.ErrGone)
	}
	return t.mu.RUnlock, nil
}

// lose notes that the controller was removed.
func (t *Transport) lose(how string) error {
	t.gone.Store(true)
	return fmt.Errorf("%s: %w", how, nvme.ErrGone)
}

// versionRegister is VS (NVMe base 2.0, section 3.1.3.2), which no controller shows as 0 or as all ones.
const versionRegister = 0x08

// present finds out whether the controller answers at all, after a register read as all ones or all zeros: that is what a
// bus answers for a device that is not there.
func (t *Transport) present() error {
	vs, err := t.bar.load32(versionRegister)
	switch {
	case err != nil:
		return t.lose(err.Error())
	case vs == 0 || vs == ^uint32(0):
		return t.lose(fmt.Sprintf("its version register reads %#x: it is not there any more", vs))
	}
	return nil
}

// Load32 reads a register.
func (t *Transport) Load32(offset uint32) (uint32, error) {
	v, err := t.load(offset, 4, func() (uint64, error) {
		v, err := t.bar.load32(offset)
		return uint64(int32(v)), err // so that all ones are all ones in 64 bits
	})
	return uint32(v), err
}

// Load64 reads a register.
func (t *Transport) Load64(offset uint32) (uint64, error) {
	return t.load(offset, 8, func() (uint64, error) { return t.bar.load64(offset) })
}

func (t *Transport) load(offset uint32, size int, read func() (uint64, error)) (uint64, error) {
	done, err := t.use()
	if err != nil {
		return 0, err
	}
	defer done()
	if err := t.bar.check(offset, size); err != nil {
		return 0, err
	}
	if t.irqs.wantedBack() {
		return 0, t.lose("the machine wants the device back (hot removal)")
	}
	v, err := read()
	if err != nil {
		return 0, t.lose(err.Error())
	}
	if v == 0 || v == ^uint64(0) {
		err = t.present()
	}
	return v, err
}

// Store32 writes a register.
func (t *Transport) Store32(offset uint32, value uint32) error {
	return t.store(offset, 4, func() error { return t.bar.store32(offset, value) })
}

// Store64 writes a register.
func (t *Transport) Store64(offset uint32, value uint64) error {
	return t.store(offset, 8, func() error { return t.bar.store64(offset, value) })
}

func (t *Transport) store(offset uint32, size int, write func() error) error {
	done, err := t.use()
	if err != nil {
		return err
	}
	defer done()
	if err := t.bar.check(offset, size); err != nil {
		return err
	}
	if err := write(); err != nil {
		return t.lose(err.Error())
	}
	return nil
}

// Window returns a part of BAR 0, nil where it is not mapped or holds the MSI-X table.
func (t *Transport) Window(offset uint32, size int) []byte {
	done, err := t.use()
	if err != nil {
		return nil
	}
	defer done()
	return t.bar.window(uint64(offset), size)
}

// Fragile is true: the machine may switch the controller's memory off, and removal does.
func (t *Transport) Fragile() bool { return true }

// Alloc returns zeroed memory for the controller, from 2 MiB on in huge pages where the machine has any to spare.
func (t *Transport) Alloc(size int) (nvme.DMA, error) {
	done, err := t.use()
	if err != nil {
		return nvme.DMA{}, err
	}
	defer done()
	return t.dma.alloc(size)
}

// Free ends what Alloc began.
func (t *Transport) Free(m nvme.DMA) error {
	done, err := t.use()
	if err != nil {
		return err
	}
	defer done()
	return t.dma.free(m)
}

// Map lets the controller reach memory of the caller.
func (t *Transport) Map(b []byte) (uint64, error) {
	done, err := t.use()
	if err != nil {
		return 0, err
	}
	defer done()
	return t.dma.mapCaller(b)
}

// Unmap ends what Map began.
func (t *Transport) Unmap(b []byte) error {
	done, err := t.use()
	if err != nil {
		return err
	}
	defer done()
	return t.dma.unmapCaller(b)
}

// Memory returns what the controller's memory amounts to.
func (t *Transport) Memory() Memory { return t.dma.memory() }

// Vectors is how many MSI-X vectors there are, or MSI ones on a controller without.
func (t *Transport) Vectors() int { return t.irqs.vectors }

// Interrupt makes a vector signal an eventfd.
func (t *Transport) Interrupt(vector, eventfd int) error {
	done, err := t.use()
	if err != nil {
		return err
	}
	defer done()
	if err := t.irqs.set(vector, eventfd); err != nil {
		return err
	}
	if eventfd >= 0 && t.Masks() && vector < len(t.table.control) {
		if err := t.table.learn(vector); err != nil {
			return t.lose(err.Error())
		}
	}
	return nil
}

// Reset resets the function. Its registers have the values of power-on then; memory stays mapped, interrupts stay set.
func (t *Transport) Reset() error {
	done, err := t.use()
	if err != nil {
		return err
	}
	defer done()
	if !t.resets {
		return fmt.Errorf("there is no way of resetting its function: %w", nvme.ErrUnsupported)
	}
	_, err = t.kernel.ioctl(t.fd, vfioDeviceReset, nil)
	switch {
	case errors.Is(err, syscall.ENOTTY), errors.Is(err, syscall.EINVAL):
		return fmt.Errorf("resetting its function: %w: %w", nvme.ErrUnsupported, err)
	case err != nil:
		return fmt.Errorf("resetting its function: %w: %w", ErrKernel, err)
	}
	if err := t.config.enable(); err != nil {
		return fmt.Errorf("after a reset: %w", err)
	}
	return t.present()
}

// Close silences the controller, unmaps all memory and closes the device, which the kernel then resets. Nobody may use
// memory of Alloc or a Window any more.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.closed {
		return nil
	}
	t.mu.closed = true
	quiet := t.config.disable()
	if t.gone.Load() {
		quiet = nil // there may be nothing left to silence
	}
	// Memory leaves the IOMMU before the device is closed: a device that is wanted back goes at once, with its IOMMU.
	return errors.Join(quiet, t.irqs.close(), t.closeRegions(), t.dma.close(), t.kernel.close(t.fd), t.free())
}
