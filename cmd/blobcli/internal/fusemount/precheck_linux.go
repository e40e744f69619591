package fusemount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// fuseDevice is what FUSE servers talk to the kernel through.
const fuseDevice = "/dev/fuse"

// Precheck says why nothing can be mounted on a directory, before anything is opened. The error is ErrUnavailable, ErrDir
// or, for a directory that is not there, also fs.ErrNotExist.
func Precheck(dir string) error {
	if err := checkSystem(); err != nil {
		return err
	}
	return checkDir(dir)
}

func checkSystem() error {
	if _, err := os.Stat(fuseDevice); err != nil {
		return fmt.Errorf("%w: %w: load FUSE (modprobe fuse), or pass the device on (a container: --device %s --cap-add SYS_ADMIN)", ErrUnavailable, err, fuseDevice)
	}
	if os.Geteuid() == 0 || haveHelper() {
		return nil
	}
	return fmt.Errorf("%w: neither root nor is there fusermount3: install fuse3, or run as root", ErrUnavailable)
}

// haveHelper looks for the setuid program that mounts for users, where go-fuse looks for it.
func haveHelper() bool {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "fusermount", "/bin/fusermount"} {
		if _, err := exec.LookPath(name); err == nil {
			return true
		}
	}
	return false
}

func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, syscall.ENOTCONN):
		return fmt.Errorf("%w: %s is a mount whose process has ended: umount %s (or fusermount3 -u) first", ErrDir, dir, dir)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %w: make it first, mkdir -p %s", ErrDir, err, dir)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDir, err)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrDir, dir)
	}
	return checkEmpty(dir)
}

// checkEmpty refuses a directory whose files the mount would hide.
func checkEmpty(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDir, err)
	}
	names, err := d.Readdirnames(1)
	if err == io.EOF {
		err = nil
	}
	switch err = errors.Join(err, d.Close()); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDir, err)
	case len(names) > 0:
		return fmt.Errorf("%w: %s is not empty (it holds %s): take an empty directory", ErrDir, dir, names[0])
	}
	return nil
}
