//go:build unix

package filebdev

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// makeSparse has nothing to do: files are sparse where nothing was written.
func makeSparse(*os.File) error { return nil }

// syncFolder makes the name of a new image durable.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("fsync of folder %s: %w", path, err)
	}
	return nil
}
