package loopdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// attempts to get a device that nobody takes in between.
const attempts = 16

// Device is a loop device that is attached to a file without a name.
type Device struct {
	Path string // "/dev/loop3"

	node *os.File // keeps the device attached
}

// New makes a file of sizeBytes in a folder, writes all of it, so that the file system below never allocates under the
// measurement, and attaches a device to it that does direct I/O. Errors: ErrUnavailable, ctx's, and what the system says.
func New(ctx context.Context, folder string, sizeBytes int64) (*Device, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: attaching one needs root", ErrUnavailable)
	}
	f, err := os.CreateTemp(folder, "loop-*.img")
	if err != nil {
		return nil, err
	}
	defer f.Close() // the device holds it
	if err := os.Remove(f.Name()); err != nil {
		return nil, err
	}
	if err := writeAll(ctx, f, sizeBytes); err != nil {
		return nil, fmt.Errorf("loop device: write %d bytes in %s: %w", sizeBytes, folder, err)
	}
	for range attempts {
		d, err := attach(f)
		if !errors.Is(err, unix.EBUSY) {
			return d, err
		}
	}
	return nil, fmt.Errorf("%w: another program takes each one first", ErrUnavailable)
}

// writeAll fills a file and leaves nothing of it in the page cache.
func writeAll(ctx context.Context, f *os.File, size int64) error {
	buf := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf[:min(int64(len(buf)), size-off)], off); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// attach asks for a free device and configures it; EBUSY means that somebody else was faster.
func attach(file *os.File) (*Device, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("%w: LOOP_CTL_GET_FREE: %w", ErrUnavailable, err)
	}
	path := fmt.Sprintf("/dev/loop%d", n)
	node, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c := unix.LoopConfig{Fd: uint32(file.Fd())}
	c.Info.Flags = unix.LO_FLAGS_DIRECT_IO | unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(int(node.Fd()), &c); err != nil {
		node.Close()
		return nil, fmt.Errorf("attach %s: %w", path, err)
	}
	d := &Device{Path: path, node: node}
	if err := errors.Join(d.checkDirect(), d.forbidDiscard()); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// checkDirect makes sure that the kernel took the wish for direct I/O, which it drops where the file cannot do it: the
// page cache below the device would be measured then.
func (d *Device) checkDirect() error {
	info, err := unix.IoctlLoopGetStatus64(int(d.node.Fd()))
	if err != nil {
		return fmt.Errorf("%s: LOOP_GET_STATUS64: %w", d.Path, err)
	}
	if info.Flags&unix.LO_FLAGS_DIRECT_IO == 0 {
		return fmt.Errorf("%w: no direct I/O on the file system below %s", ErrUnavailable, d.Path)
	}
	return nil
}

// forbidDiscard makes the device one without discard: it would make holes in the file, which cost the file system below
// when they are written again, and only those users who discard.
func (d *Device) forbidDiscard() error {
	return os.WriteFile(d.sysfs("queue/discard_max_bytes"), []byte("0"), 0)
}

func (d *Device) sysfs(name string) string { return "/sys/block/" + d.Path[len("/dev/"):] + "/" + name }

// detachTimeout is how long a device may stay in use by others after it was closed.
const detachTimeout = 5 * time.Second

// Close gives the device up and waits until the kernel has detached it.
func (d *Device) Close() error {
	if err := d.node.Close(); err != nil {
		return err
	}
	for deadline := time.Now().Add(detachTimeout); ; time.Sleep(10 * time.Millisecond) {
		_, err := os.Stat(d.sysfs("loop/backing_file"))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is still in use and detaches when its last user is gone", d.Path)
		}
	}
}
