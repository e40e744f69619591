package blobfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// LegacyType is the store type of SPDK's own BlobFS, which SPDK removed in v25.09. Legacy reads it.
const LegacyType = "BLOBFS"

// Attributes of SPDK's BlobFS: one blob is one file, names are flat and may hold slashes.
const (
	legacyName    = "name"       // with its terminating NUL
	legacyLength  = "length"     // bytes, little-endian, 8 bytes
	legacyDeleted = "is_deleted" // deleted while open: the next load of SPDK would have removed the blob
)

// legacyChunk is how much one device read of a legacy file covers at most, in bytes.
const legacyChunk = 256 << 10

// Legacy is SPDK's BlobFS, open for reading. Its methods may be called from any goroutine; the store stays the caller's.
type Legacy struct {
	store    *blobstore.Store
	files    map[string]LegacyFile
	problems []LegacyProblem
}

// LegacyFile is a file of SPDK's BlobFS.
type LegacyFile struct {
	Name string // as stored; may hold slashes
	Size int64  // bytes
	Blob blobstore.BlobID
}

// LegacyProblem is a blob that is not a sound file.
type LegacyProblem struct {
	Blob blobstore.BlobID
	Err  error
}

// OpenLegacy lists the files of a store of type LegacyType. What cannot be read is reported by Problems and costs nothing
// else. The error is ErrNotFS if the store is of another type.
func OpenLegacy(store *blobstore.Store) (*Legacy, error) {
	if t := store.Info().Type; t != LegacyType {
		return nil, fmt.Errorf("%s: %w of SPDK: the store's type is %q, want %q", store.Device().Name(), ErrNotFS, t, LegacyType)
	}
	l := &Legacy{store: store, files: make(map[string]LegacyFile)}
	journal := store.Info().Journal // there once this program has written to the store
	for _, id := range store.IDs() {
		if id == journal {
			continue
		}
		if err := l.add(id); err != nil {
			l.problems = append(l.problems, LegacyProblem{id, err})
		}
	}
	return l, nil
}

// add lists the file that a blob holds. A file may be listed and have a problem.
func (l *Legacy) add(id blobstore.BlobID) error {
	info, err := l.store.Stat(id)
	if err != nil {
		return err
	}
	if info.Refused != nil {
		return info.Refused
	}
	if deleted, ok := info.Xattrs[legacyDeleted]; ok && isSet(deleted) {
		return nil
	}
	name, err := legacyNameOf(info.Xattrs)
	if err != nil {
		return err
	}
	size, err := l.sizeOf(info)
	f := LegacyFile{Name: name, Size: size, Blob: id}
	if other, taken := l.files[name]; taken {
		f.Name = fmt.Sprintf("%s~%v", name, id)
		err = errors.Join(err, fmt.Errorf("%w: blob %v has the name %q too; listed as %q", ErrCorrupt, other.Blob, name, f.Name))
	}
	l.files[f.Name] = f
	return err
}

func isSet(b []byte) bool { return len(b) > 0 && b[0] != 0 }

// legacyNameOf is the name without its NUL.
func legacyNameOf(xattrs map[string][]byte) (string, error) {
	name, ok := xattrs[legacyName]
	if !ok {
		return "", fmt.Errorf("%w: xattr %q missing", ErrCorrupt, legacyName)
	}
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	if len(name) == 0 {
		return "", fmt.Errorf("%w: xattr %q is empty", ErrCorrupt, legacyName)
	}
	return string(name), nil
}

// sizeOf is the file's length, no more than its blob has: what is there can be rescued.
func (l *Legacy) sizeOf(info blobstore.BlobInfo) (int64, error) {
	held := info.Clusters * int64(l.store.ClusterSize())
	v, ok := info.Xattrs[legacyLength]
	switch {
	case !ok:
		return held, fmt.Errorf("%w: xattr %q missing; the whole blob is readable", ErrCorrupt, legacyLength)
	case len(v) != 8:
		return held, fmt.Errorf("%w: xattr %q has %d bytes, want 8; the whole blob is readable", ErrCorrupt, legacyLength, len(v))
	}
	if n := binary.LittleEndian.Uint64(v); n > uint64(held) {
		return held, fmt.Errorf("%w: length %d, but the blob holds %d", ErrCorrupt, n, held)
	}
	return int64(binary.LittleEndian.Uint64(v)), nil
}

// List returns every file, ordered by name.
func (l *Legacy) List() []LegacyFile {
	list := make([]LegacyFile, 0, len(l.files))
	for _, f := range l.files {
		list = append(list, f)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Problems returns the blobs that are damaged files or none.
func (l *Legacy) Problems() []LegacyProblem { return l.problems }

// Open opens a file by its exact name. The error is ErrNotExist, or why the blob cannot be read.
func (l *Legacy) Open(name string) (*LegacyReader, error) {
	f, ok := l.files[name]
	if !ok {
		return nil, fmt.Errorf("%s: %q: %w", l.store.Device().Name(), name, ErrNotExist)
	}
	blob, err := l.store.Blob(f.Blob)
	if err != nil {
		return nil, err
	}
	return &LegacyReader{file: f, blob: blob, block: int64(l.store.BlockSize())}, nil
}

// LegacyReader reads one file. Any goroutine may use it.
type LegacyReader struct {
	file  LegacyFile
	blob  *blobstore.Blob
	block int64
}

// Size is the file's length in bytes.
func (r *LegacyReader) Size() int64 { return r.file.Size }

// Reader returns the file as a stream from its start.
func (r *LegacyReader) Reader() *io.SectionReader { return io.NewSectionReader(r, 0, r.file.Size) }

// ReadAt implements io.ReaderAt.
func (r *LegacyReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%q: %w: offset %d", r.file.Name, ErrInvalid, off)
	}
	want := min(int64(len(p)), max(0, r.file.Size-off))
	buf := dmabuf.Default.Get(legacyChunk)
	defer dmabuf.Default.Put(buf)
	n := int64(0)
	for n < want {
		m, err := r.chunk(p[n:want], buf, off+n)
		if err != nil {
			return int(n), fmt.Errorf("%q: %w", r.file.Name, err)
		}
		n += m
	}
	if int(n) < len(p) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// chunk reads the blocks around off into buf and copies what p wants of them.
func (r *LegacyReader) chunk(p, buf []byte, off int64) (int64, error) {
	start := off / r.block * r.block
	end := min((off+int64(len(p))+r.block-1)/r.block*r.block, start+int64(len(buf)))
	if err := r.blob.Read(buf[:end-start], start); err != nil {
		return 0, err
	}
	return int64(copy(p, buf[off-start:end-start])), nil
}
