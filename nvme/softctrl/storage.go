package softctrl

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// ErrNoSpace is wrapped by an error of Storage that has no room for a write: the host is told "capacity exceeded", and nothing
// else is wrong with the namespace.
var ErrNoSpace = errors.New("the storage has no room")

// Storage is what a namespace keeps its blocks in. All methods are used by several goroutines at once. Reads and writes are
// whole blocks, and those of Config.AtomicBlocks blocks or fewer come in one call each.
type Storage interface {
	io.ReaderAt
	io.WriterAt
	// Flush makes all completed writes durable.
	Flush() error
	// Discard makes a range read as zeros; offset and n are bytes, whole blocks too.
	Discard(offset, n int64) error
	// Size is in bytes.
	Size() int64
}

// QueuedStorage is storage that works on many reads, writes and flushes at a time. A controller that has one is used by one goroutine at
// a time.
type QueuedStorage interface {
	Storage
	// OpenQueue opens a queue that takes as many operations at a time as there are tags, from 0 on.
	OpenQueue(tags int) (StorageQueue, error)
}

// StorageQueue is a queue of one controller's operations. One goroutine at a time calls it.
type StorageQueue interface {
	// Start begins an operation under a tag that is not in use, at the latest with the next Poll, and has its buffer until Poll says that it
	// has ended. It does not wait. It returns false when it does not take such an operation, which Storage carries out then.
	Start(tag int, o StorageOp) bool
	// Poll calls ended for operations that have ended, whose tags are free then, and returns how many. With wait it waits for one if
	// there are any. When ended panics, the next Poll goes on behind that operation.
	Poll(wait bool, ended func(tag int, err error)) int
	// Close closes it; no operation is under way.
	Close() error
}

// StorageOp is an operation of a StorageQueue.
type StorageOp struct {
	Kind    StorageKind
	Durable bool   // a write that is durable when it ends
	Buf     []byte // whole blocks, of a read or a write
	Offset  int64  // bytes
}

// StorageKind is what a StorageOp does.
type StorageKind uint8

// The operations.
const (
	StorageRead StorageKind = iota
	StorageWrite
	StorageFlush // makes all writes durable that have ended
)

// sector is what a RAM tears at, in bytes: the least that an NVMe device writes atomically.
const sector = 512

// RAM is storage in memory. With a volatile cache it remembers what a power failure may undo.
type RAM struct {
	mem   *dmabuf.Region
	cache bool
	mu    sync.RWMutex
	dirty map[int64]*[sector]byte // with a cache: what was in a sector at the last flush
}

// NewRAM makes zeroed storage of a size in bytes, a multiple of 512. With a cache, PowerFail loses some of what was not flushed.
func NewRAM(size int64, cache bool) (*RAM, error) {
	if size%sector != 0 {
		return nil, fmt.Errorf("storage of %d bytes, want a multiple of %d", size, sector)
	}
	mem, err := dmabuf.NewRegion(size)
	if err != nil {
		return nil, err
	}
	return &RAM{mem: mem, cache: cache, dirty: map[int64]*[sector]byte{}}, nil
}

// Size is in bytes.
func (r *RAM) Size() int64 { return int64(len(r.mem.Bytes())) }

func (r *RAM) check(offset int64, n int) error {
	if offset < 0 || offset > r.Size() || int64(n) > r.Size()-offset {
		return fmt.Errorf("%d bytes at %d of %d: %w", n, offset, r.Size(), io.ErrUnexpectedEOF)
	}
	return nil
}

// ReadAt reads.
func (r *RAM) ReadAt(p []byte, offset int64) (int, error) {
	if err := r.check(offset, len(p)); err != nil {
		return 0, err
	}
	if r.cache {
		r.mu.RLock()
		defer r.mu.RUnlock()
	}
	return copy(p, r.mem.Bytes()[offset:]), nil
}

// WriteAt writes.
func (r *RAM) WriteAt(p []byte, offset int64) (int, error) {
	if err := r.check(offset, len(p)); err != nil {
		return 0, err
	}
	if r.cache {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.remember(offset, int64(len(p)))
	}
	return copy(r.mem.Bytes()[offset:], p), nil
}

// remember keeps what a range held at the last flush.
func (r *RAM) remember(offset, n int64) {
	for at := offset / sector * sector; at < offset+n; at += sector {
		if r.dirty[at] == nil {
			r.dirty[at] = (*[sector]byte)(append([]byte(nil), r.mem.Bytes()[at:at+sector]...))
		}
	}
}

// Discard zeroes a range.
func (r *RAM) Discard(offset, n int64) error {
	if n < 0 || n > r.Size() {
		return fmt.Errorf("%d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	if err := r.check(offset, int(n)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cache {
		r.remember(offset, n)
	}
	r.mem.Zero(offset, n)
	return nil
}

// Flush makes everything durable.
func (r *RAM) Flush() error {
	if r.cache {
		r.mu.Lock()
		defer r.mu.Unlock()
		clear(r.dirty)
	}
	return nil
}

// PowerFail keeps each sector that was written since the last flush with a chance of one half, and gives the others back what
// they held then: writes are lost in any subset and tear at 512 bytes.
func (r *RAM) PowerFail(rng *rand.Rand) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := int64(0); at < r.Size() && len(r.dirty) > 0; at += sector { // in order, so that a seed decides
		if old := r.dirty[at]; old != nil {
			if rng.IntN(2) == 0 {
				copy(r.mem.Bytes()[at:], old[:])
			}
			delete(r.dirty, at)
		}
	}
}

// Free releases the memory.
func (r *RAM) Free() error { return r.mem.Free() }
