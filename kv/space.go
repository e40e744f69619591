package kv

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/vfsadapter"
)

// creditBytes may pass unlooked at while the reserve is available twice, so that a small write costs one atomic add here:
// the second one is more than compactions can take meanwhile.
const creditBytes = 1 << 20

// keptInMind is the size in bytes from which a change is one to be kept in mind while it is made: a few of them could
// otherwise pass on the same free space. Smaller ones add up to less than the slack of the reserve.
const keptInMind = 64 << 10

// admitWait bounds how long a change waits for compactions to give room back.
const admitWait = 10 * time.Second

// reservedPages is how many metadata pages the reserve keeps: every file takes one.
const reservedPages = 256

// hostCheckEvery and hostCheckBytes say how stale the view of the file system below an image may be.
const (
	hostCheckEvery = 200 * time.Millisecond
	hostCheckBytes = 4 << 20
)

// spaceGuard answers ErrNoSpace before the engine does something that it could not finish.
type spaceGuard struct {
	fs   *blobfs.FS
	host hostSpace

	floors
	largeBatch int64 // bytes from which the engine gives a batch a memtable of its own

	// backlog takes the engine's lock, so it is asked only when a flush or a compaction has changed the answer, and only by
	// a writer without credit: in a million unsynced Sets by two goroutines 32 times, 40 µs each, 0.06 % of the time.
	backlog        func() backlog
	backlogChanged atomic.Bool
	extra          atomic.Int64 // bytes of the backlog that the reserve has no room for
	unflushed      atomic.Int64 // bytes of large changes that wait for their flush, for which it has no room either
	sublevels      atomic.Int32 // of L0

	compactions compactions

	// Metadata pages can run out before clusters do. They count as bytes, so that the same floors hold for them.
	pageBytes    int64 // what one free page is worth
	freePages    atomic.Int64
	pagesChanged atomic.Bool

	deletes      atomic.Bool // some may be in a memtable
	flushDeletes func()      // flushes the memtables
	closing      func() bool // true when nobody should wait any more

	large      sync.Mutex   // one large change is admitted at a time
	committing atomic.Int64 // bytes of large changes that are being made
	credit     atomic.Int64 // bytes that may pass before anybody looks at the free space again

	// The host's view, refreshed by whoever finds it stale.
	missing   atomic.Int64 // bytes that the file system holds free but the host could not provide
	unchecked atomic.Int64 // bytes admitted since the last look
	checkedAt atomic.Int64 // monotonic nanoseconds
	origin    time.Time
}

// newSpaceGuard makes one that does not know the memtables yet: sizeFor must follow.
func newSpaceGuard(fs *blobfs.FS, host hostSpace) *spaceGuard {
	g := &spaceGuard{fs: fs, host: host, origin: time.Now(), backlog: func() backlog { return backlog{} }, flushDeletes: func() {}, closing: func() bool { return false }}
	g.look()
	return g
}

// usable is the size of the device in bytes, less what its host could not provide now.
func (g *spaceGuard) usable() int64 { return g.fs.Usage().TotalBytes - g.missing.Load() }

// sizeFor sets the floors for a size of memtables.
func (g *spaceGuard) sizeFor(memTable int64) {
	g.floors = floorsFor(g.usable(), memTable, g.fs.Store().ClusterSize())
	g.largeBatch = memTable / 2
	pages := g.fs.Store().Info().MDPages
	g.pageBytes = g.reserve / max(1, min(reservedPages, pages/8))
	g.pagesChanged.Store(true)
	g.lookAtPages()
}

// adapterOptions hand the floors to the layer that sees the writes of flushes and compactions.
func (g *spaceGuard) adapterOptions() vfsadapter.Options {
	return vfsadapter.Options{
		CompactionFloor: g.flushFloor,
		Available:       g.available,
		AwaitRoom:       g.compactions.awaitRoom,
	}
}

// available is what can still be allocated, in bytes.
func (g *spaceGuard) available() int64 {
	g.refresh()
	g.lookAtPages()
	return g.lastAvailable()
}

// lastAvailable is available as it was last looked at, but for what has been allocated since. It asks nobody.
func (g *spaceGuard) lastAvailable() int64 {
	return min(g.fs.Usage().FreeBytes-g.missing.Load(), g.freePages.Load()*g.pageBytes)
}

// lookAtPages counts the free metadata pages. As many as are reserved are worth the reserve.
func (g *spaceGuard) lookAtPages() {
	if g.pagesChanged.Load() && g.pagesChanged.Swap(false) {
		i := g.fs.Store().Info()
		g.freePages.Store(i.MDPages - i.UsedMDPages)
	}
}

// filesChanged hears of new and removed files of the engine, tablesChanged of the end of a flush or compaction.
func (g *spaceGuard) filesChanged() { g.pagesChanged.Store(true) }

func (g *spaceGuard) tablesChanged() {
	g.backlogChanged.Store(true)
	g.filesChanged()
}

// roomForTables is what compactions can use, in bytes.
func (g *spaceGuard) roomForTables() int64 { return g.available() - g.flushFloor }

// short says that there is not room for two of the compactions that the reserve is for. The engine asks with its lock
// held.
func (g *spaceGuard) short() bool {
	return g.lastAvailable() < g.reserve+max(g.likelyExtra, g.extra.Load())+g.compactionRoom()
}

// admit lets a change of n bytes through, or says that the device is full. A compaction that is running takes room and
// mostly gives more back than it took: while one is, a change that finds no room waits for it, admitWait at most. If there
// is no error, done follows when the change is made.
func (g *spaceGuard) admit(n int64, deletes bool) error {
	if n < keptInMind && g.credit.Add(-n) >= 0 {
		return nil
	}
	err := g.admitNow(n, deletes)
	if deletes {
		g.deletes.Store(true)
	}
	if err == nil {
		return nil
	}
	if !deletes && g.deletes.Swap(false) {
		g.flushDeletes() // a delete frees nothing before it is in a table
	}
	deadline := time.Now().Add(admitWait)
	for err != nil && !g.closing() && g.compactions.awaitChange() && time.Now().Before(deadline) {
		g.look() // the view of the host may be older than what was given back to it
		err = g.admitNow(n, deletes)
	}
	return err
}

// admitNow is admit without waiting.
func (g *spaceGuard) admitNow(n int64, deletes bool) error {
	floor := g.setFloor()
	if deletes {
		floor = g.deleteFloor
	}
	if err := g.admitL0(deletes); err != nil {
		return err
	}
	floor += g.unflushed.Load()
	if n < keptInMind {
		return g.admitAbove(floor, n)
	}
	g.large.Lock() // or two would pass on the same free space
	defer g.large.Unlock()
	err := g.admitAbove(floor, n)
	if err == nil {
		g.committing.Add(n)
	}
	return err
}

// done ends a change of n bytes that was admitted. What a large one leaves in memory is looked at by the next.
func (g *spaceGuard) done(n int64) {
	if n >= keptInMind {
		g.backlogChanged.Store(true)
		g.committing.Add(-n)
	}
}

// admitL0 refuses what could leave writers waiting in the engine for a compaction that will not come: while compactions
// fail, L0 must not reach the number of layers that stops writers, with the memtables that are not flushed yet.
func (g *spaceGuard) admitL0(deletes bool) error {
	failure := g.compactions.failure()
	if failure == nil {
		return nil
	}
	limit := g.stopWrites - memTablesInMemory - 1
	if !deletes {
		limit -= memTablesInMemory // which deletes may use
	}
	if n := int(g.sublevels.Load()); n > limit {
		return fmt.Errorf("%w: %d unsorted layers of tables wait for one: %w", ErrStalled, n, failure)
	}
	return nil
}

// setFloor is what must be available behind a Set, in bytes.
func (g *spaceGuard) setFloor() int64 {
	g.lookAtBacklog()
	return g.reserve + g.extra.Load()
}

// lookAtBacklog notes what compactions need beyond the reserve while the top of the tree is larger than it should be.
// Without it a device that is filled faster than it is compacted ends with an L0 that cannot be compacted any more.
func (g *spaceGuard) lookAtBacklog() {
	if g.backlogChanged.Load() && g.backlogChanged.Swap(false) {
		b := g.backlog()
		g.sublevels.Store(int32(b.sublevels))
		g.extra.Store(max(0, b.bytes-g.backlogRoom))
		g.unflushed.Store(max(0, b.memTables-g.memTables))
	}
}

// admitAbove looks at the free space. Each byte is counted twice: in the log and in a table. A large batch ends the log
// before it and its own.
func (g *spaceGuard) admitAbove(floor, n int64) error {
	need := 2 * (n + g.committing.Load())
	if n >= g.largeBatch {
		need += 4 * g.largeBatch
	}
	avail := g.available()
	if avail-need < floor {
		return fmt.Errorf("%w: %s, the reserve is %d, and this write needs %d: %s", ErrNoSpace, g.whatIsFree(avail), floor, need, g.advice())
	}
	if avail-need >= floor+g.reserve {
		g.credit.Store(creditBytes)
		n += creditBytes
	}
	g.unchecked.Add(n)
	return nil
}

// roomToFlush says whether n bytes of changes can become tables now, with what else a flush writes.
func (g *spaceGuard) roomToFlush(n int64) error {
	avail, need := g.available(), n+maxManifestSize(g.memTables/memTablesInMemory)+slackClusters*int64(g.fs.Store().ClusterSize())/2
	if avail >= need {
		return nil
	}
	return fmt.Errorf("%w: %s, and that takes %d: %s", ErrNoSpace, g.whatIsFree(avail), need, g.advice())
}

// roomToBegin says whether a new store could take a single change.
func (g *spaceGuard) roomToBegin() error {
	if avail := g.available(); avail <= g.reserve {
		return fmt.Errorf("%w: a new store of this size needs %d bytes to begin, and %s: %s", ErrNoSpace, g.reserve, g.whatIsFree(avail), g.advice())
	}
	return nil
}

// whatIsFree says how many bytes there are, and why not more where the host is to blame.
func (g *spaceGuard) whatIsFree(avail int64) string {
	if g.missing.Load() == 0 {
		return fmt.Sprintf("%d bytes are free", max(0, avail))
	}
	return fmt.Sprintf("%d bytes are free (the store has %d, but the file system that holds the image could not provide %d bytes of the image)",
		max(0, avail), g.fs.Usage().FreeBytes, g.missing.Load())
}

// advice is what helps.
func (g *spaceGuard) advice() string {
	if g.missing.Load() == 0 {
		return "delete keys (DeleteRange takes least) and Compact, or make a store on a larger device"
	}
	return open.HostFullAdvice
}

// refresh looks at the host again if its view is stale.
func (g *spaceGuard) refresh() {
	if g.host == nil {
		return
	}
	now := int64(time.Since(g.origin))
	last := g.checkedAt.Load()
	if now-last < int64(hostCheckEvery) && g.unchecked.Load() < hostCheckBytes {
		return
	}
	if g.checkedAt.CompareAndSwap(last, now) {
		g.look()
	}
}

// look asks the host how much of the image it could not provide: it must find room for every byte of the image that
// has none yet.
func (g *spaceGuard) look() {
	if g.host == nil {
		return
	}
	g.unchecked.Store(0)
	free, unallocated, err := g.host()
	if err != nil {
		return // the image is open, so this passes; the last view stands
	}
	g.missing.Store(max(0, unallocated-free))
}
