package loopdev

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// MountExt4 makes an ext4 as FormatExt4 does on the device and mounts it on a folder, with the kernel's defaults. The
// caller unmounts.
func (d *Device) MountExt4(ctx context.Context, folder string) (unmount func() error, err error) {
	if err := FormatExt4(ctx, d.Path); err != nil {
		return nil, err
	}
	if err := unix.Mount(d.Path, folder, "ext4", 0, ""); err != nil {
		return nil, fmt.Errorf("mount %s on %s: %w", d.Path, folder, err)
	}
	return func() error { return unmountRetry(folder) }, nil
}

// FormatExt4 makes an ext4 with a journal on a device or an image file. All of the file system's tables are written now,
// or a thread of the kernel would do it under the measurement; what is not used is not discarded, which would make holes
// in the file below.
func FormatExt4(ctx context.Context, path string) error {
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		return fmt.Errorf("%w: mkfs.ext4 is not installed (package e2fsprogs)", ErrUnavailable)
	}
	cmd := exec.CommandContext(ctx, mkfs, "-q", "-F", "-O", "has_journal", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4 %s: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// unmountTimeout is how long a file system may be in use by a process that is just ending.
const unmountTimeout = 5 * time.Second

// unmountRetry unmounts, and takes the mount out of sight where somebody keeps it in use: it goes with the last user.
func unmountRetry(folder string) error {
	for deadline := time.Now().Add(unmountTimeout); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Unmount(folder, 0)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("unmount %s: %w", folder, err)
		case time.Now().After(deadline):
			return errors.Join(fmt.Errorf("unmount %s: %w", folder, err), unix.Unmount(folder, unix.MNT_DETACH))
		}
	}
}
