//go:build !linux

package aiobdev

import (
	"fmt"
	"runtime"

	"github.com/blobkv/blobkv/bdev"
)

// Backend exists on Linux only; Open returns none here.
type Backend struct{ bdev.Backend }

// Fresh reports whether Open created the image.
func (*Backend) Fresh() bool { return false }

// Open fails: native AIO is Linux's.
func Open(path string, _ Options) (*Backend, error) {
	return nil, fmt.Errorf("aio: %s: %w: Linux native AIO does not exist on %s; use file:%s", path,
		bdev.ErrUnsupported, runtime.GOOS, path)
}
