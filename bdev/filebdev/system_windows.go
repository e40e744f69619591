package filebdev

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// makeSparse keeps the file system from reserving the whole size. One that cannot (FAT) serves small images all the same.
func makeSparse(f *os.File) error {
	var n uint32
	err := windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
	if err != nil && !errors.Is(err, windows.ERROR_INVALID_FUNCTION) && !errors.Is(err, windows.ERROR_NOT_SUPPORTED) {
		return fmt.Errorf("making the image sparse: %w", err)
	}
	return nil
}

// syncFolder has nothing to do: the file system keeps names durable with the file.
func syncFolder(string) error { return nil }
