package crashsim

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobfs"
)

// lateWrites keeps the writes of file data from the disk for a while, so that other goroutines' journal appends and flushes
// overtake them: a flush may then cover a length and not the bytes that it speaks of.
type lateWrites struct {
	direct *bdev.Device // the disk, past the tape
	from   int64        // byte offset where file data begins
	most   time.Duration

	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
}

func newLateWrites(disk *crashbdev.Disk, most time.Duration, seed uint64) (*lateWrites, error) {
	l := &lateWrites{most: most, rng: rand.New(rand.NewPCG(seed, 2))}
	var err error
	if l.from, err = dataStart(disk.Snapshot()); err != nil {
		return nil, err
	}
	l.direct, err = disk.Open("crashsim:direct")
	return l, err
}

// dataStart is the byte offset where file data begins: behind the metadata and the journal, which was the first to take
// clusters.
func dataStart(image *crashbdev.Image) (start int64, err error) {
	err = onDisk(crashbdev.FromImage(image, crashbdev.Options{}), func(dev *bdev.Device) error {
		return mounted(dev, func(fs *blobfs.FS) error {
			i := fs.Store().Info()
			start = i.MetadataClusters*int64(i.ClusterSize) + i.JournalSize
			return nil
		})
	})
	return start, err
}

func (l *lateWrites) close() { _ = l.direct.Close() }

// begin holds a write of data back.
func (l *lateWrites) begin(r *bdev.Request) bdev.Verdict {
	if r.Op != bdev.OpWrite || r.Offset < l.from {
		return bdev.Verdict{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return bdev.Verdict{Answered: true, Delay: time.Duration(l.rng.Int64N(int64(l.most))), Tag: l}
}

// end carries out a write that was held back.
func (l *lateWrites) end(r *bdev.Request) error { return l.direct.Write(r.Buf, r.Offset) }
