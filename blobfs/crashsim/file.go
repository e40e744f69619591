package crashsim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// blockSize is the unit in which a file system writes, in bytes: what a reused file may lose around a write.
const blockSize = 4096

// file is the part of the specification that speaks of one file's bytes. Since its last sync, each byte may be the synced
// one or any that was written there; the length is the synced one, that of a sync under way, or that of a truncation.
type file struct {
	reused  bool
	content []byte // as a reader sees it; never changed in place
	synced  []byte // content at the last sync that succeeded
	since   []write
	lengths map[int]length // that a cut may leave; never changed in place
	low     int            // the shortest of them
}

// write is bytes that may have reached the device.
type write struct {
	off  int
	data []byte
}

// length is what holds if a cut leaves it.
type length struct {
	// exact are the last bytes below the length, which are exactly these: they were never below a length before, so this
	// one vouches for them.
	exact []byte
}

func newFile(content []byte) file {
	f := file{content: content}
	f.acknowledge()
	return f
}

func (f *file) acknowledge() {
	f.synced, f.since, f.low = f.content, nil, len(f.content)
	f.lengths = map[int]length{len(f.content): {}}
}

// attempt adds the length of a sync that is tried.
func (f *file) attempt() {
	n := len(f.content)
	if _, known := f.lengths[n]; known {
		return
	}
	l := length{exact: f.content[min(f.low, n):]}
	if f.reused {
		l.exact = nil
	}
	f.allow(n, l)
}

func (f *file) allow(n int, l length) {
	f.lengths = maps.Clone(f.lengths)
	f.lengths[n] = l
}

// write changes bytes. A gap behind the end reads as zeros.
func (f *file) write(off int, data []byte) {
	if gap := off - len(f.content); gap > 0 {
		f.write(len(f.content), make([]byte, gap))
	}
	next := make([]byte, max(len(f.content), off+len(data)))
	copy(next, f.content)
	copy(next[off:], data)
	f.content = next
	f.reached(off, data)
	if f.reused {
		f.reachedZeros(off-off%blockSize, off)
		f.reachedZeros(off+len(data), (off+len(data)+blockSize-1)/blockSize*blockSize)
	}
}

// reached notes bytes that a cut may leave.
func (f *file) reached(off int, data []byte) {
	f.since = append(slices.Clip(f.since), write{off, data})
}

// reachedZeros notes zeros where the file has bytes.
func (f *file) reachedZeros(from, to int) {
	if n := min(to, len(f.content)) - from; n > 0 {
		f.reached(from, make([]byte, n))
	}
}

// truncate changes the size. A shorter one may survive a cut before any sync; what was cut off may then read as zeros
// below the old one.
func (f *file) truncate(size int) {
	if size > len(f.content) {
		f.write(len(f.content), make([]byte, size-len(f.content)))
		return
	}
	f.reached(size, make([]byte, len(f.content)-size))
	f.content = slices.Clip(f.content[:size])
	if size < f.low {
		f.low = size
		f.allow(size, length{})
	}
}

// settle replaces the content of a reused file, where it is unspecified, by what a reader has seen.
func (f *file) settle(seen []byte) string {
	allowed := *f
	allowed.allow(len(f.content), length{})
	if bad := allowed.judge(seen); bad != "" {
		return bad
	}
	f.content = bytes.Clone(seen)
	return ""
}

// judge says what is wrong with the content that a cut left, "" if nothing is.
func (f *file) judge(got []byte) string {
	l, possible := f.lengths[len(got)]
	if !possible {
		return fmt.Sprintf("%d bytes, possible are %v", len(got), slices.Sorted(maps.Keys(f.lengths)))
	}
	from := len(got) - len(l.exact)
	if i := firstDifference(got[from:], l.exact); i >= 0 {
		return fmt.Sprintf("byte %d of %d is %#x, but the length vouches for %#x", from+i, len(got), got[from+i], l.exact[i])
	}
	if bytes.Equal(got, f.synced) {
		return ""
	}
	if i := f.neverWritten(got); i >= 0 {
		return fmt.Sprintf("byte %d of %d is %#x, which was never written there", i, len(got), got[i])
	}
	return ""
}

// neverWritten is the first byte that is neither the synced one nor any written since, -1 if there is none.
func (f *file) neverWritten(got []byte) int {
	good := make([]bool, len(got))
	for i := range min(len(got), len(f.synced)) {
		good[i] = got[i] == f.synced[i]
	}
	for _, w := range f.since {
		for i := w.off; i < min(w.off+len(w.data), len(got)); i++ {
			good[i] = good[i] || got[i] == w.data[i-w.off]
		}
	}
	return slices.Index(good, false)
}

// firstDifference compares two contents of one length, -1 if they are the same.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
