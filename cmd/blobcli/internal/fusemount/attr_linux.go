package fusemount

import (
	"os"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/blobkv/blobkv/blobfs"
)

const (
	allPermissions = 0o777
	sectorSize     = 512  // unit of st_blocks, in bytes
	ioSize         = 4096 // what st_blksize and statfs suggest, in bytes
)

// server is what all nodes of a mount share.
type server struct {
	fs         *blobfs.FS // nil for SPDK's BlobFS
	cluster    int64      // unit of allocation, in bytes
	owner      fuse.Owner
	permission uint32
	log        func(string)
}

func newServer(o Options) *server {
	return &server{
		owner:      fuse.Owner{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())},
		permission: allPermissions &^ o.Umask,
		log:        o.Log,
	}
}

// fill describes a file or directory to the kernel. The store has neither owners nor permissions: everything belongs to
// who mounted it. There is one time, that of the last change.
func (s *server) fill(out *fuse.Attr, info blobfs.Info) {
	out.Ino = uint64(info.ID)
	out.Size = uint64(info.Size)
	out.Blocks = uint64((info.Size + s.cluster - 1) / s.cluster * (s.cluster / sectorSize))
	out.Blksize = ioSize
	out.Mode = modeOf(info.Dir) | s.permission
	out.Nlink = uint32(info.Links)
	out.Owner = s.owner
	setTimes(out, info.ModTime)
}

func setTimes(out *fuse.Attr, t time.Time) { out.SetTimes(&t, &t, &t) }

// modeOf is the type part of a mode.
func modeOf(dir bool) uint32 {
	if dir {
		return fuse.S_IFDIR
	}
	return fuse.S_IFREG
}
