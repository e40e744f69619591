package kv

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/vfsadapter"
)

// The reserve, from the bottom up. What stands in a line may go on until less than that and all above it is free:
//
//	ROOM          FOR                                                  WHO MAY USE IT
//	logs          two fresh logs, a MANIFEST that grows and rolls       log and MANIFEST: never refused
//	flushes       every memtable as a table                             flushes: never refused, bounded by the memtables
//	deletes       two memtables of them                                 Delete, DeleteRange, batches of those
//	compaction    L0 and the base level once more                       compactions
//	everything else                                                     Set
//
// No write is let in that logs and flushes could not finish, and compactions, which come and go, take room from nobody
// but Set.
const (
	logMemTables        = 2.5                                      // two logs of 1.1 memtables, and slack
	deleteMemTables     = 4                                        // two of deletes, each in a log and in a table
	compactionMemTables = 2*l0CompactionFiles + baseLevelMemTables // one compaction of L0 into the base level
	compactionFiles     = 8                                        // or this many of its tables, if that is more
	slackClusters       = 16                                       // files are whole clusters
	reservedPages       = 256                                      // metadata pages: every file takes one
	maxReserveFraction  = 3                                        // of the device: never more than a third
	maxExtraFraction    = 8                                        // of the device: what a backlog may add to that
)

// creditBytes may pass unlooked at while twice the reserve is available, so that a small write costs one atomic add here:
// the other half of it is more than compactions can take meanwhile.
const creditBytes = 1 << 20

// hostCheckEvery and hostCheckBytes say how stale the view of the file system below an image may be.
const (
	hostCheckEvery = 200 * time.Millisecond
	hostCheckBytes = 4 << 20
)

// spaceGuard answers ErrNoSpace before the engine does something that it could not finish.
type spaceGuard struct {
	fs   *blobfs.FS
	host hostSpace

	deleteFloor, compactionFloor, reserve int64 // bytes that must be available
	largeBatch                            int64 // bytes from which the engine gives a batch a memtable of its own
	backlogRoom                           int64 // bytes of L0 that the room for compactions is for

	// backlog returns the size of L0 in bytes, which a compaction may have to write once more. It takes the engine's lock,
	// so it is asked only when a flush or a compaction has changed the answer, and only by a writer without credit: in a
	// million unsynced Sets by two goroutines 32 times, 40 µs each, 0.06 % of the time.
	backlog        func() int64
	backlogChanged atomic.Bool
	extra          atomic.Int64 // bytes of the backlog that the reserve has no room for
	maxExtra       int64        // and how many of them count

	// Metadata pages can run out before clusters do. They count as bytes, so that the same floors hold for them.
	pageBytes    int64 // what one free page is worth
	freePages    atomic.Int64
	pagesChanged atomic.Bool

	committing atomic.Int64 // bytes of batches, of any size, that are being committed
	credit     atomic.Int64 // bytes that may pass before anybody looks at the free space again

	// The host's view, refreshed by whoever finds it stale.
	missing   atomic.Int64 // bytes that the file system holds free but the host could not provide
	unchecked atomic.Int64 // bytes admitted since the last look
	checkedAt atomic.Int64 // monotonic nanoseconds
	origin    time.Time
}

func newSpaceGuard(fs *blobfs.FS, host hostSpace, memTable int64) *spaceGuard {
	g := &spaceGuard{fs: fs, host: host, origin: time.Now(), backlog: func() int64 { return 0 }}
	g.look()
	g.setFloors(memTable)
	return g
}

// setFloors sizes the reserve for a memtable size, within a third of what there is in all.
func (g *spaceGuard) setFloors(memTable int64) {
	slack := slackClusters * int64(g.fs.Store().ClusterSize())
	logs := int64(logMemTables*float64(memTable)) + 2*maxManifestSize(memTable) + slack
	compaction := max(compactionMemTables*memTable, compactionFiles*targetFileSize(memTable, 0))
	g.deleteFloor = logs + memTablesInMemory*memTable
	g.compactionFloor = g.deleteFloor + deleteMemTables*memTable
	g.reserve = g.compactionFloor + compaction
	g.largeBatch = memTable / 2
	g.backlogRoom = 2 * l0CompactionFiles * memTable
	// More than stops the writers is in L0 only if its files do not overlap. They are compacted a few at a time.
	total := g.fs.Usage().TotalBytes - g.missing.Load()
	g.maxExtra = min(l0StopWritesFiles*memTable-g.backlogRoom, total/maxExtraFraction)

	limit := total / maxReserveFraction
	if full := g.reserve; full > limit {
		g.compactionFloor = scale(g.compactionFloor, limit, full)
		g.deleteFloor = scale(g.deleteFloor, limit, full)
		g.reserve = limit
	}
	pages := g.fs.Store().Info().MDPages
	g.pageBytes = g.reserve / max(1, min(reservedPages, pages/8))
	g.pagesChanged.Store(true)
}

// scale is n*num/den without overflow for any device size.
func scale(n, num, den int64) int64 { return int64(float64(n) * float64(num) / float64(den)) }

// adapterOptions hand the floors to the layer that sees the writes of flushes and compactions.
func (g *spaceGuard) adapterOptions() vfsadapter.Options {
	return vfsadapter.Options{
		CompactionFloor: g.compactionFloor,
		Available:       g.available,
	}
}

// available is what can still be allocated, in bytes.
func (g *spaceGuard) available() int64 {
	g.refresh()
	return min(g.fs.Usage().FreeBytes-g.missing.Load(), g.pagesInBytes())
}

// pagesInBytes is what the free metadata pages are worth: the reserve when only the reserved ones are free.
func (g *spaceGuard) pagesInBytes() int64 {
	if g.pagesChanged.Swap(false) {
		i := g.fs.Store().Info()
		g.freePages.Store(i.MDPages - i.UsedMDPages)
	}
	return g.freePages.Load() * g.pageBytes
}

// filesChanged hears of new and removed files of the engine, tablesChanged of the end of a flush or compaction.
func (g *spaceGuard) filesChanged() { g.pagesChanged.Store(true) }

func (g *spaceGuard) tablesChanged() {
	g.backlogChanged.Store(true)
	g.filesChanged()
}

// roomForTables is what compactions can use, in bytes.
func (g *spaceGuard) roomForTables() int64 { return g.available() - g.compactionFloor }

// short says that there is not room for two of the compactions that the reserve is for.
func (g *spaceGuard) short() bool {
	return g.available() < g.reserve+g.maxExtra+(g.reserve-g.compactionFloor)
}

// admit lets a change of n bytes through, or says that the device is full.
func (g *spaceGuard) admit(n int64, deletes bool) error {
	if g.credit.Add(-n) >= 0 {
		return nil
	}
	if deletes {
		return g.admitAbove(g.deleteFloor, n)
	}
	return g.admitAbove(g.setFloor(), n)
}

// setFloor is what must be available behind a Set, in bytes.
func (g *spaceGuard) setFloor() int64 { return g.reserve + g.extraBacklog() }

// extraBacklog is what compactions need beyond the reserve while L0 is larger than it should be. Without it a device
// that is filled faster than it is compacted ends with an L0 that cannot be compacted any more.
func (g *spaceGuard) extraBacklog() int64 {
	if g.backlogChanged.Swap(false) {
		g.extra.Store(min(g.maxExtra, max(0, g.backlog()-g.backlogRoom)))
	}
	return g.extra.Load()
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
		return fmt.Errorf("%w: %d bytes are free, the reserve is %d, and this write needs %d: "+
			"delete keys (DeleteRange takes least) and Compact, or use a larger device", ErrNoSpace, avail, floor, need)
	}
	if avail-need >= 2*g.reserve {
		g.credit.Store(creditBytes)
		n += creditBytes
	}
	g.unchecked.Add(n)
	return nil
}

// begin and done bracket the commit of a batch of n bytes.
func (g *spaceGuard) begin(n int64) { g.committing.Add(n) }
func (g *spaceGuard) done(n int64)  { g.committing.Add(-n) }

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
