//go:build !linux

package fusemount

import (
	"fmt"
	"runtime"

	"github.com/blobkv/blobkv/blobfs"
)

// Mount is a mounted file system. There is none on this operating system.
type Mount struct{}

// Precheck says why nothing can be mounted.
func Precheck(string) error {
	return fmt.Errorf("%w on %s: only Linux is supported; ls, cat, get and put work everywhere", ErrUnavailable, runtime.GOOS)
}

// New fails.
func New(_ *blobfs.FS, dir string, _ Options) (*Mount, error) { return nil, Precheck(dir) }

// NewLegacy fails.
func NewLegacy(_ *blobfs.Legacy, dir string, _ Options) (*Mount, error) { return nil, Precheck(dir) }

// Skipped is empty.
func (m *Mount) Skipped() []string { return nil }

// Done is closed at once.
func (m *Mount) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// Unmount has nothing to do.
func (m *Mount) Unmount() error { return nil }
