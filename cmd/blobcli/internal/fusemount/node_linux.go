package fusemount

import (
	"context"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/blobfs"
)

// node is a file or directory as the kernel knows it. What it has no method for is refused by go-fuse with ENOTSUP.
type node struct {
	gofs.Inode
	s  *server
	at blobfs.Node
}

// child is the kernel's node for a node of the file system, a new one if the kernel does not know it yet.
func (n *node) child(ctx context.Context, at blobfs.Node, dir bool) *gofs.Inode {
	id, made := at.Identity()
	return n.NewInode(ctx, &node{s: n.s, at: at}, gofs.StableAttr{Mode: modeOf(dir), Ino: uint64(id), Gen: uint64(made)})
}

// enter describes a node that was just made and returns the kernel's node for it.
func (n *node) enter(ctx context.Context, at blobfs.Node, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	info, err := at.Stat()
	if err != nil {
		return nil, n.s.errno(err)
	}
	n.s.fill(&out.Attr, info)
	return n.child(ctx, at, info.Dir), 0
}

// Lookup finds an entry of a directory.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	at, info, err := n.at.Lookup(name)
	if err != nil {
		return nil, n.s.errno(err)
	}
	n.s.fill(&out.Attr, info)
	return n.child(ctx, at, info.Dir), 0
}

// Readdir lists a directory as it is now: a listing that has begun does not change.
func (n *node) Readdir(context.Context) (gofs.DirStream, syscall.Errno) {
	entries, err := n.at.List()
	if err != nil {
		return nil, n.s.errno(err)
	}
	own := n.StableAttr().Ino
	list := make([]fuse.DirEntry, 0, len(entries)+2)
	list = append(list, fuse.DirEntry{Name: ".", Mode: fuse.S_IFDIR, Ino: own}, fuse.DirEntry{Name: "..", Mode: fuse.S_IFDIR, Ino: own})
	for _, e := range entries {
		list = append(list, fuse.DirEntry{Name: e.Name, Mode: modeOf(e.Info.Dir), Ino: uint64(e.Info.ID)})
	}
	return gofs.NewListDirStream(list), 0
}

// Getattr describes the node, also when it has no name any more.
func (n *node) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	info, err := n.at.Stat()
	if err != nil {
		return n.s.errno(err)
	}
	n.s.fill(&out.Attr, info)
	return 0
}

// Setattr changes size and modification time. Owners, permissions and the time of access are not stored: what is set
// is accepted and has no effect, as otherwise no cp -p and no tar would succeed; the answer says what they are.
func (n *node) Setattr(ctx context.Context, f gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if err := n.truncate(f, int64(size)); err != nil {
			return n.s.errno(err)
		}
	}
	if t, ok := in.GetMTime(); ok {
		if err := n.at.SetModTime(t); err != nil {
			return n.s.errno(err)
		}
	}
	out.SetTimeout(cacheTime)
	return n.Getattr(ctx, f, out)
}

// truncate changes the size, through the caller's handle if there is one.
func (n *node) truncate(f gofs.FileHandle, size int64) error {
	if h, ok := f.(*handle); ok {
		return h.f.Truncate(size)
	}
	file, err := n.at.Open(true)
	if err != nil {
		return err
	}
	err = file.Truncate(size)
	if e := file.Close(); err == nil {
		err = e
	}
	return err
}

// Create makes a file and opens it. The kernel has looked the name up before and keeps others away from the directory,
// so a file that exists is an error also without O_EXCL.
func (n *node) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	at, f, err := n.at.Create(name)
	if err != nil {
		return nil, nil, 0, n.s.errno(err)
	}
	child, errno := n.enter(ctx, at, out)
	if errno != 0 {
		_ = f.Close() // empty; the first error says more
		return nil, nil, 0, errno
	}
	return child, &handle{n.s, f}, fuse.FOPEN_KEEP_CACHE, 0
}

// Mknod makes a regular file. There are no devices, pipes and sockets.
func (n *node) Mknod(ctx context.Context, name string, mode, _ uint32, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if kind := mode & syscall.S_IFMT; kind != 0 && kind != syscall.S_IFREG {
		return nil, syscall.ENOTSUP
	}
	at, f, err := n.at.Create(name)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, n.s.errno(err)
	}
	return n.enter(ctx, at, out)
}

// Mkdir makes a directory.
func (n *node) Mkdir(ctx context.Context, name string, _ uint32, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	at, err := n.at.Mkdir(name)
	if err != nil {
		return nil, n.s.errno(err)
	}
	return n.enter(ctx, at, out)
}

// Link gives a file another name.
func (n *node) Link(ctx context.Context, target gofs.InodeEmbedder, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	old, ok := target.(*node)
	if !ok {
		return nil, syscall.EXDEV
	}
	if err := n.at.Link(old.at, name); err != nil {
		return nil, n.s.errno(err)
	}
	return n.enter(ctx, old.at, out)
}

// Unlink removes a file's name. Handles keep the file.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	return n.s.errno(n.at.Unlink(name))
}

// Rmdir removes an empty directory.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	return n.s.errno(n.at.Rmdir(name))
}

// Rename moves an entry, atomically, over an existing one unless RENAME_NOREPLACE is set. Two entries cannot be exchanged.
func (n *node) Rename(_ context.Context, name string, dir gofs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags&^unix.RENAME_NOREPLACE != 0 {
		return syscall.EINVAL
	}
	to, ok := dir.(*node)
	if !ok {
		return syscall.EXDEV
	}
	return n.s.errno(n.at.Rename(name, to.at, newName, flags&unix.RENAME_NOREPLACE == 0))
}

// Open opens a file. The kernel keeps the pages it has: nobody else writes.
func (n *node) Open(_ context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	f, err := n.at.Open(flags&syscall.O_ACCMODE != syscall.O_RDONLY)
	if err != nil {
		return nil, 0, n.s.errno(err)
	}
	return &handle{n.s, f}, fuse.FOPEN_KEEP_CACHE, 0
}

// Fsync makes a file durable; of a directory every name there is.
func (n *node) Fsync(_ context.Context, f gofs.FileHandle, _ uint32) syscall.Errno {
	if h, ok := f.(*handle); ok {
		return n.s.errno(h.f.Sync())
	}
	return n.s.errno(n.s.fs.Sync())
}

// Access makes the kernel ask no more: whoever can reach the mount may do everything.
func (n *node) Access(context.Context, uint32) syscall.Errno { return syscall.ENOSYS }

// Statfs tells the space. Every file takes at least one page of metadata, so free pages bound the number of new files.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	usage, info := n.s.fs.Usage(), n.s.fs.Store().Info()
	*out = fuse.StatfsOut{
		Bsize:   ioSize,
		Frsize:  ioSize,
		Blocks:  uint64(usage.TotalBytes / ioSize),
		Bfree:   uint64(usage.FreeBytes / ioSize),
		Bavail:  uint64(usage.FreeBytes / ioSize),
		Files:   uint64(info.MDPages),
		Ffree:   uint64(info.MDPages - info.UsedMDPages),
		NameLen: blobfs.MaxName,
	}
	return 0
}
