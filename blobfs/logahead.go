package blobfs

import "github.com/blobkv/blobkv/blobstore"

const (
	// smallSync is the most a sync may append, in bytes, to look like a write-ahead log's.
	smallSync = 64 << 10
	// aheadAfter is how many small syncs in a row make a file a log.
	aheadAfter = 4
	// aheadStep is how much is zeroed at a time, and aheadLow how close the end of the file comes to the end of the
	// zeros before the next step; in bytes.
	aheadStep = 1 << 20
	aheadLow  = 512 << 10
)

// logAhead writes zeros ahead of a log on an image file. A durable write into a range of the image that was never
// written waits for the host's own metadata; one over zeros does not, and one step of zeros costs the host's metadata
// once for hundreds of syncs. Only ranges behind the end of the file are written, so no reader can see it. Guarded by
// fileData.wmu.
type logAhead struct {
	streak int   // small syncs in a row
	to     int64 // in the file: everything from its end to here is written or on its way
	steps  []*aheadWrite
}

// aheadWrite is one write of zeros on its way.
type aheadWrite struct {
	io     blobstore.IO
	lo, hi int64
}

// logAhead notes a sync that appended and starts the next step when one is due. The caller holds wmu.
func (d *fileData) logAhead(appended int64) {
	if !d.fs.sparse || appended == 0 {
		return
	}
	a := &d.ahead
	if appended > smallSync {
		a.streak = 0
		return
	}
	a.streak++
	end := roundUp(d.n.size.Load(), d.fs.block)
	a.to = max(a.to, end)
	a.collect()
	if a.streak >= aheadAfter && a.to-end < aheadLow {
		d.zeroAhead(min(a.to+aheadStep, d.blob.Size()))
	}
}

// zeroAhead starts writing zeros from where the last step ended to end.
func (d *fileData) zeroAhead(end int64) {
	zeros := d.fs.zeros.get()
	for a := &d.ahead; a.to < end; {
		n := min(end-a.to, int64(len(zeros)))
		w := &aheadWrite{lo: a.to, hi: a.to + n}
		a.steps = append(a.steps, w)
		a.to += n
		d.fs.stats.zeroed.Add(n)
		d.blob.StartWrite(&w.io, zeros[:n], w.lo)
	}
}

// collect forgets the writes that have completed. One that failed costs speed, not data. Wait is what ends a write for
// the store: the clusters below one that was only seen to be done would never be free again.
func (a *logAhead) collect() {
	for len(a.steps) > 0 && a.steps[0].io.Done() {
		_ = a.steps[0].io.Wait()
		a.steps = a.steps[1:]
	}
}

// settle waits for everything on its way.
func (a *logAhead) settle() { a.settleOverlap(0, maxFileSize) }

// settleOverlap waits for zeros on their way to bytes [lo, hi): two writes to one block are never in flight at once.
func (a *logAhead) settleOverlap(lo, hi int64) {
	for _, w := range a.steps {
		if w.lo < hi && lo < w.hi {
			_ = w.io.Wait()
		}
	}
	a.collect()
}

// reset forgets what is zeroed: the clusters are given up.
func (a *logAhead) reset() { *a = logAhead{} }
