//go:build !linux

package vfio

import (
	"fmt"
	"runtime"

	"github.com/blobkv/blobkv/nvme"
)

// system is the kernel of a platform without vfio: it refuses everything.
type system struct{}

var errPlatform = fmt.Errorf("NVMe controllers are driven from user space through vfio, which Linux alone has; this is %s: %w",
	runtime.GOOS, nvme.ErrUnsupported)

// supported tells whether this platform has vfio at all.
func supported() error { return errPlatform }

func (system) open(string) (int, error)                   { return -1, errPlatform }
func (system) close(int) error                            { return errPlatform }
func (system) ioctl(int, uint, []byte) (int, error)       { return 0, errPlatform }
func (system) ioctlValue(int, uint, uintptr) (int, error) { return 0, errPlatform }
func (system) pread(int, []byte, int64) error             { return errPlatform }
func (system) pwrite(int, []byte, int64) error            { return errPlatform }
func (system) mapDevice(int, int64, int) ([]byte, error)  { return nil, errPlatform }
func (system) mapMemory(int, bool) ([]byte, error)        { return nil, errPlatform }
func (system) unmap([]byte) error                         { return errPlatform }
func (system) eventfd() (int, error)                      { return -1, errPlatform }
func (system) signalled(int) bool                         { return false }
func (system) lockedLimit() uint64                        { return 0 }
func (system) owner(string) string                        { return "" }
