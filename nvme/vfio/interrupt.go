package vfio

import (
	"errors"
	"fmt"
	"sync"
)

// maxVectors bounds the vectors that are used: one for each of 255 queue pairs and the admin queue's. The kernel sets up
// all at once.
const maxVectors = 256

// interrupts are a device's vectors, of MSI-X or MSI, and the kernel's request to have the device back.
type interrupts struct {
	kernel  kernel
	fd      int
	index   int // irqMSIX or irqMSI
	vectors int
	request int // eventfd, -1 where the kernel does not tell

	mu struct {
		sync.Mutex
		set  map[int]bool // vectors that signal something
		most int          // how many vectors the kernel granted, 0 while none is set up
	}
}

// newInterrupts asks which vectors there are; it sets none up.
func newInterrupts(k kernel, fd int) (*interrupts, error) {
	t := &interrupts{kernel: k, fd: fd, request: -1}
	t.mu.set = make(map[int]bool)
	for _, index := range []int{irqMSIX, irqMSI} {
		n, err := t.count(index)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			t.index, t.vectors = index, min(n, maxVectors)
			break
		}
	}
	return t, t.watch()
}

// count reads struct vfio_irq_info: argsz, flags, index, count (32 bits each).
func (t *interrupts) count(index int) (int, error) {
	b := words(irqInfoBytes, 0, uint32(index), 0)
	if _, err := t.kernel.ioctl(t.fd, vfioDeviceGetIRQ, b); err != nil {
		return 0, fmt.Errorf("interrupts of kind %d: %w: %w", index, ErrKernel, err)
	}
	n := native.Uint32(b[12:])
	if n > 1<<11 { // PCI has no more (MSI-X table size, 11 bits)
		return 0, fmt.Errorf("%d interrupt vectors: %w", n, ErrBadReply)
	}
	if native.Uint32(b[4:])&irqEventfd == 0 {
		return 0, nil
	}
	return int(n), nil
}

// watch learns when the kernel wants the device back. A kernel that does not tell is no failure.
func (t *interrupts) watch() error {
	if n, err := t.count(irqRequest); err != nil || n == 0 {
		return nil
	}
	fd, err := t.kernel.eventfd()
	if err != nil {
		return fmt.Errorf("an eventfd for hot removal: %w: %w", ErrKernel, err)
	}
	if _, err := t.kernel.ioctl(t.fd, vfioDeviceSetIRQs, irqSet(irqRequest, 0, fd)); err != nil {
		return errors.Join(fmt.Errorf("the eventfd for hot removal: %w: %w", ErrKernel, err), t.kernel.close(fd))
	}
	t.request = fd
	return nil
}

// wantedBack tells whether the kernel has asked for the device.
func (t *interrupts) wantedBack() bool { return t.request >= 0 && t.kernel.signalled(t.request) }

// set makes a vector signal an eventfd, -1 ends that.
func (t *interrupts) set(vector, eventfd int) error {
	if vector < 0 || vector >= t.vectors {
		return fmt.Errorf("interrupt vector %d of %d: %w", vector, t.vectors, ErrBadAccess)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if eventfd < 0 {
		return t.clear(vector)
	}
	if t.mu.most == 0 {
		return t.begin(vector, eventfd)
	}
	if vector >= t.mu.most {
		return fmt.Errorf("interrupt vector %d: the kernel granted %d of %d: %w", vector, t.mu.most, t.vectors, ErrNoSpace)
	}
	if err := t.apply(irqSet(t.index, vector, eventfd)); err != nil {
		return err
	}
	t.mu.set[vector] = true
	return nil
}

// begin sets all vectors up, since kernels before 6.4 cannot add one later. With too few left in the machine the kernel
// answers how many it has.
func (t *interrupts) begin(vector, eventfd int) error {
	for n := t.vectors; n > vector; {
		fds := make([]int, n)
		for i := range fds {
			fds[i] = -1
		}
		fds[vector] = eventfd
		granted, err := t.kernel.ioctl(t.fd, vfioDeviceSetIRQs, irqSet(t.index, 0, fds...))
		switch {
		case err != nil:
			return fmt.Errorf("setting %d interrupt vectors up: %w: %w", n, ErrKernel, err)
		case granted == 0:
			t.mu.most = n
			t.mu.set[vector] = true
			return nil
		case granted >= n:
			return fmt.Errorf("%d interrupt vectors granted where %d were asked for: %w", granted, n, ErrBadReply)
		}
		n = granted
	}
	return fmt.Errorf("interrupt vector %d: the machine has too few left: %w", vector, ErrNoSpace)
}

// clear is called with mu held. Without the last vector all are switched off.
func (t *interrupts) clear(vector int) error {
	if !t.mu.set[vector] {
		return nil
	}
	arg := irqSet(t.index, vector, -1)
	if len(t.mu.set) == 1 {
		arg = irqSet(t.index, 0)
	}
	if err := t.apply(arg); err != nil {
		return err
	}
	if delete(t.mu.set, vector); len(t.mu.set) == 0 {
		t.mu.most = 0
	}
	return nil
}

func (t *interrupts) apply(arg []byte) error {
	if _, err := t.kernel.ioctl(t.fd, vfioDeviceSetIRQs, arg); err != nil {
		return fmt.Errorf("setting interrupt vectors: %w: %w", ErrKernel, err)
	}
	return nil
}

// close switches all off, for good.
func (t *interrupts) close() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.most > 0 {
		err = t.apply(irqSet(t.index, 0))
	}
	if t.request >= 0 {
		err = errors.Join(err, t.apply(irqSet(irqRequest, 0)), t.kernel.close(t.request))
	}
	return err
}
