package procstat

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SyncFS writes back everything dirty of the file system that holds path.
func SyncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// DropPageCache makes the kernel forget the clean pages of every file. It needs root.
func DropPageCache() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0)
}

// DropFiles makes the kernel forget the clean pages of the file at path, or of all files below the folder at path. It
// needs no privilege. Call SyncFS first: dirty pages stay.
func DropFiles(path string) error {
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			err = dropFile(name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // files come and go under a running engine
		}
		return err
	})
}

func dropFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
