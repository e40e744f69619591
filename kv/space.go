package kv

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/vfsadapter"
)

// The reserve, from the bottom up. Each line is room that only what stands above it in the list may use:
//
//	log          one fresh log, a MANIFEST that grows and is rolled over       the engine's log and MANIFEST
//	flush        every memtable as a table                                     + flushes
//	compaction   the base level and the files of L0 once more                  + compactions, half of it deletes
//	             everything else                                               + sets
const (
	logMemTables        = 2                      // one log of 1.1 memtables, preallocated, and slack
	compactionMemTables = baseLevelMemTables + 4 // one compaction of L0 into the base level
	slackClusters       = 16                     // files are whole clusters: tables, logs, MANIFEST, markers
	maxReserveFraction  = 3                      // of the device: the reserve never takes more than a third
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

	logFloor, flushFloor, compactionFloor, reserve int64 // bytes that must be available

	large  atomic.Int64 // bytes of batches that are being committed
	credit atomic.Int64 // bytes that may pass before anybody looks at the free space again

	// The host's view, refreshed by whoever finds it stale.
	missing   atomic.Int64 // bytes that the file system holds free but the host could not provide
	unchecked atomic.Int64 // bytes admitted since the last look
	checkedAt atomic.Int64 // monotonic nanoseconds
	origin    time.Time
}

func newSpaceGuard(fs *blobfs.FS, host hostSpace, memTable int64) *spaceGuard {
	g := &spaceGuard{fs: fs, host: host, origin: time.Now()}
	g.look()
	g.setFloors(memTable)
	return g
}

// setFloors sizes the reserve for a memtable size, within a third of what there is in all.
func (g *spaceGuard) setFloors(memTable int64) {
	u := g.fs.Usage()
	slack := slackClusters * int64(g.fs.Store().ClusterSize())
	g.logFloor = logMemTables*memTable + 2*maxManifestSize(memTable) + slack
	g.flushFloor = g.logFloor + memTablesInMemory*memTable
	g.reserve = g.flushFloor + compactionMemTables*memTable
	if limit := (u.TotalBytes - g.missing.Load()) / maxReserveFraction; g.reserve > limit {
		g.logFloor = scale(g.logFloor, limit, g.reserve)
		g.flushFloor = scale(g.flushFloor, limit, g.reserve)
		g.reserve = limit
	}
	g.compactionFloor = g.flushFloor
}

// scale is n*num/den without overflow for any device size.
func scale(n, num, den int64) int64 { return int64(float64(n) * float64(num) / float64(den)) }

// adapterOptions hand the floors to the layer that sees the writes of flushes and compactions.
func (g *spaceGuard) adapterOptions() vfsadapter.Options {
	return vfsadapter.Options{
		FlushFloor:      g.logFloor,
		CompactionFloor: g.compactionFloor,
		Available:       g.available,
	}
}

// available is what can still be allocated, in bytes.
func (g *spaceGuard) available() int64 {
	g.refresh()
	return g.fs.Usage().FreeBytes - g.missing.Load()
}

// roomForTables is what compactions can use, in bytes.
func (g *spaceGuard) roomForTables() int64 { return g.available() - g.compactionFloor }

// admit lets a change of n bytes through, or says that the device is full.
func (g *spaceGuard) admit(n int64, deletes bool) error {
	if g.credit.Add(-n) >= 0 {
		return nil
	}
	floor := g.reserve
	if deletes {
		floor = (g.reserve + g.compactionFloor) / 2
	}
	return g.admitAbove(floor, n)
}

// admitAbove looks at the free space. Each byte is counted twice: in the log and in a table.
func (g *spaceGuard) admitAbove(floor, n int64) error {
	need := 2 * (n + g.large.Load())
	avail := g.available()
	if avail-need < floor {
		return fmt.Errorf("%w: %d bytes are available, %d of them are the reserve, %d are needed",
			ErrNoSpace, avail, floor, need)
	}
	if avail-need >= 2*g.reserve {
		g.credit.Store(creditBytes)
		n += creditBytes
	}
	g.unchecked.Add(n)
	return nil
}

// begin and done bracket the commit of a batch of n bytes.
func (g *spaceGuard) begin(n int64) { g.large.Add(n) }
func (g *spaceGuard) done(n int64)  { g.large.Add(-n) }

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
