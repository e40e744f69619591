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
	if err := tryDevice(); err != nil {
		return fmt.Errorf("%w: %w: %s", ErrUnavailable, err, deviceAdvice(err))
	}
	if os.Geteuid() == 0 || haveHelper() {
		return nil
	}
	return fmt.Errorf("%w: neither root nor is there fusermount3: install fuse3, or run as root", ErrUnavailable)
}

// tryDevice opens the device, which has no effect, as whoever mounts has to.
func tryDevice() error {
	f, err := os.OpenFile(fuseDevice, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func deviceAdvice(err error) string {
	switch {
	case !errors.Is(err, os.ErrPermission):
		return "load FUSE (modprobe fuse); a container needs --device " + fuseDevice + " --cap-add SYS_ADMIN"
	case os.Geteuid() == 0:
		return "a container needs --device " + fuseDevice + " --cap-add SYS_ADMIN"
	}
	return "run as root, or have root open it to users (chmod 666 " + fuseDevice + ")"
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
	case err == nil && !info.IsDir():
		return fmt.Errorf("%w: %s is not a directory", ErrDir, dir)
	case err == nil:
		err = checkEmpty(dir)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %w: make it first, mkdir -p %s", ErrDir, err, dir)
	}
	if errors.Is(err, syscall.ENOTCONN) {
		return fmt.Errorf("%w: %s is a mount whose process has ended: umount %s (or fusermount3 -u) first", ErrDir, dir, dir)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDir, err)
	}
	return nil
}

// checkEmpty refuses a directory whose files the mount would hide.
func checkEmpty(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(1)
	if err == io.EOF {
		err = nil
	}
	if err := errors.Join(err, d.Close()); err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("%s is not empty (it holds %s): take an empty directory", dir, names[0])
	}
	return nil
}
