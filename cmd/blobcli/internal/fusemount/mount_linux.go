package fusemount

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/blobkv/blobkv/blobfs"
)

const (
	// cacheTime is how long the kernel may keep names and attributes. Nobody but the kernel changes them.
	cacheTime = time.Hour
	// maxRequest is the largest read or write, in bytes: what the kernel allows without being tuned.
	maxRequest = 1 << 20
	// maxBackground is how many read-ahead and write-back requests the kernel sends before it waits for an answer.
	maxBackground = 64
)

// Mount is a mounted file system.
type Mount struct {
	server  *fuse.Server
	dir     string
	skipped []string
	done    chan struct{}
}

// New mounts a file system on an empty directory. The caller closes fs after Done.
func New(fs *blobfs.FS, dir string, o Options) (*Mount, error) {
	s := newServer(o)
	s.fs, s.cluster = fs, int64(fs.Store().ClusterSize())
	root := &node{s: s, at: fs.Root()}
	id, made := root.at.Identity()
	return start(root, gofs.StableAttr{Ino: uint64(id), Gen: uint64(made)}, dir, o)
}

// start mounts the tree below root.
func start(root gofs.InodeEmbedder, attr gofs.StableAttr, dir string, o Options) (*Mount, error) {
	if err := Precheck(dir); err != nil {
		return nil, err
	}
	timeout := cacheTime
	server, err := gofs.Mount(dir, root, &gofs.Options{
		MountOptions:    mountOptions(o),
		EntryTimeout:    &timeout,
		AttrTimeout:     &timeout,
		NegativeTimeout: &timeout,
		RootStableAttr:  &attr,
		NullPermissions: true, // a umask may leave nothing, and attributes are complete
	})
	if err != nil {
		return nil, explain(dir, err)
	}
	m := &Mount{server: server, dir: dir, done: make(chan struct{})}
	go m.wait()
	return m, nil
}

func mountOptions(o Options) fuse.MountOptions {
	opts := fuse.MountOptions{
		Name:                     "blobfs",
		FsName:                   o.Source,
		MaxWrite:                 maxRequest,
		MaxReadAhead:             maxRequest,
		MaxBackground:            maxBackground,
		DisableXAttrs:            true,
		ExplicitDataCacheControl: true,
		Logger:                   log.New(logWriter{o.Log}, "", 0),
	}
	root := os.Geteuid() == 0
	opts.DirectMountStrict = root // the helper is for those who may not call mount(2)
	opts.DirectMountFlags = syscall.MS_NOSUID | syscall.MS_NODEV
	switch {
	case o.Writable:
	case root:
		opts.DirectMountFlags |= syscall.MS_RDONLY
	default:
		opts.Options = append(opts.Options, "ro")
	}
	return opts
}

// explain adds what to do to the kernel's refusal.
func explain(dir string, err error) error {
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("%w on %s: %w: it needs root with CAP_SYS_ADMIN (a container: --cap-add SYS_ADMIN --device /dev/fuse)", ErrUnavailable, dir, err)
	}
	return fmt.Errorf("%w on %s: %w", ErrUnavailable, dir, err)
}

// wait closes done when the kernel has let go. A connection that was aborted leaves a dead mount behind, which is removed.
func (m *Mount) wait() {
	defer close(m.done)
	m.server.Wait()
	// Not stat: the kernel still answers that from its cache.
	if err := checkEmpty(m.dir); errors.Is(err, syscall.ENOTCONN) {
		_ = m.server.Unmount() // if it is in use it stays, and the next mount on it says what to do
	}
}

// Done is closed when the file system is no longer mounted, whoever unmounted it, and no request is running.
func (m *Mount) Done() <-chan struct{} { return m.done }

// Skipped lists names that could not be shown.
func (m *Mount) Skipped() []string { return m.skipped }

// Unmount asks the kernel to let go. ErrBusy while a process has a file open or is in one of the directories.
func (m *Mount) Unmount() error {
	select {
	case <-m.done:
		return nil // asking again could unmount what lies below
	default:
	}
	err := m.server.Unmount()
	if err == nil {
		<-m.done
		return nil
	}
	if errors.Is(err, syscall.EBUSY) || strings.Contains(err.Error(), "busy") { // the latter is fusermount's
		return fmt.Errorf("%s is %w%s", m.dir, ErrBusy, byWhom(m.dir))
	}
	return fmt.Errorf("unmount %s: %w", m.dir, err)
}

// logWriter hands lines of a logger on.
type logWriter struct{ log func(string) }

// Write takes one line.
func (w logWriter) Write(p []byte) (int, error) {
	if w.log != nil {
		w.log(strings.TrimRight(string(p), "\n"))
	}
	return len(p), nil
}
