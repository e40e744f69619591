package vfsadapter

import (
	"os"
	"path"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/blobkv/blobkv/blobfs"
)

// info is a blobfs.Info as vfs.FileInfo.
type info struct {
	name string // base name
	in   blobfs.Info
}

var _ vfs.FileInfo = info{}

func newInfo(name string, in blobfs.Info) info { return info{name: path.Base(name), in: in} }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.in.Size }
func (i info) ModTime() time.Time { return i.in.ModTime }
func (i info) IsDir() bool        { return i.in.Dir }

// Sys returns the blobfs.Info.
func (i info) Sys() any { return i.in }

// Mode is that of a private file or directory: BlobFS has no permission bits.
func (i info) Mode() os.FileMode {
	if i.in.Dir {
		return os.ModeDir | 0o700
	}
	return 0o600
}

// DeviceID is zero: only files of an operating system have one.
func (i info) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
