package fusemount

import (
	"context"
	"io"
	"path"
	"strings"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/blobkv/blobkv/blobfs"
)

// NewLegacy mounts SPDK's BlobFS, for reading only. Its names are flat; those with slashes are shown in directories.
// Skipped lists what cannot be: a name that is a directory of another one.
func NewLegacy(l *blobfs.Legacy, dir string, o Options) (*Mount, error) {
	o.Writable = false
	s := newServer(o)
	s.cluster = sectorSize
	root := &legacyDir{s: s, mounted: time.Now(), files: l}
	m, err := start(root, gofs.StableAttr{}, dir, o)
	if err == nil {
		m.skipped = root.skipped
	}
	return m, err
}

// legacyDir is the root, or a directory that the slashes in names ask for. go-fuse lists and finds its children.
type legacyDir struct {
	gofs.Inode
	s       *server
	mounted time.Time
	files   *blobfs.Legacy // of the root
	skipped []string       // by the root
}

// OnAdd builds the whole tree below the root.
func (d *legacyDir) OnAdd(ctx context.Context) {
	if d.files == nil {
		return
	}
	for _, f := range d.files.List() {
		if !d.add(ctx, f) {
			d.skipped = append(d.skipped, f.Name)
		}
	}
}

// add puts a file where its name says and reports whether it could.
func (d *legacyDir) add(ctx context.Context, f blobfs.LegacyFile) bool {
	above, base := path.Split(strings.TrimPrefix(path.Clean("/"+f.Name), "/"))
	if base == "" || len(base) > blobfs.MaxName {
		return false
	}
	parent := d.EmbeddedInode()
	for _, name := range strings.FieldsFunc(above, func(r rune) bool { return r == '/' }) {
		next := parent.GetChild(name)
		if next == nil {
			next = parent.NewPersistentInode(ctx, &legacyDir{s: d.s, mounted: d.mounted}, gofs.StableAttr{Mode: fuse.S_IFDIR})
			parent.AddChild(name, next, false)
		}
		if !next.IsDir() {
			return false
		}
		parent = next
	}
	file := &legacyFile{s: d.s, mounted: d.mounted, l: d.files, f: f}
	return parent.AddChild(base, parent.NewPersistentInode(ctx, file, gofs.StableAttr{Mode: fuse.S_IFREG, Ino: uint64(f.Blob)}), false)
}

// Getattr describes a directory. SPDK's BlobFS stores no times: they are those of the mount.
func (d *legacyDir) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.s.fill(&out.Attr, blobfs.Info{Dir: true, Links: 1, ModTime: d.mounted})
	return 0
}

// Statfs tells no space: nothing can be written.
func (d *legacyDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	return readOnlyStatfs(out)
}

// Statfs is that of the directory.
func (f *legacyFile) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	return readOnlyStatfs(out)
}

func readOnlyStatfs(out *fuse.StatfsOut) syscall.Errno {
	*out = fuse.StatfsOut{Bsize: ioSize, Frsize: ioSize, NameLen: blobfs.MaxName}
	return 0
}

// Access makes the kernel ask no more.
func (d *legacyDir) Access(context.Context, uint32) syscall.Errno { return syscall.ENOSYS }

// legacyFile is a file of SPDK's BlobFS.
type legacyFile struct {
	gofs.Inode
	s       *server
	mounted time.Time
	l       *blobfs.Legacy
	f       blobfs.LegacyFile
}

// Getattr describes the file.
func (f *legacyFile) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.s.fill(&out.Attr, blobfs.Info{ID: f.f.Blob, Size: f.f.Size, Links: 1, ModTime: f.mounted})
	return 0
}

// Open opens the file.
func (f *legacyFile) Open(context.Context, uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	r, err := f.l.Open(f.f.Name)
	if err != nil {
		return nil, 0, f.s.errno(err)
	}
	return &legacyHandle{f.s, r}, fuse.FOPEN_KEEP_CACHE, 0
}

// legacyHandle is an open file of SPDK's BlobFS.
type legacyHandle struct {
	s *server
	r *blobfs.LegacyReader
}

// Read fills dest up to the end of the file.
func (h *legacyHandle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.r.ReadAt(dest, off)
	if err != nil && err != io.EOF {
		return nil, h.s.errno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}
