package crashsim

import (
	"errors"
	"fmt"
	"sync"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
)

const (
	diskSize    = 6 << 20
	smallDisk   = 3 << 19 // so small that it is full every now and then
	clusterSize = 64 << 10
	writeMemory = 1 << 20 // the least there can be: buffers go out while a workload runs
)

// place is where in the stream of device operations the power goes.
type place uint8

const (
	beforeFlush place = iota // everything since the last flush is still in the cache
	afterFlush               // and here only what came while it ran
	beforeWrite
	betweenOps // an operation has returned
)

var placeNames = [...]string{"before a flush", "after a flush", "before a write", "after it returned"}

// cut is one state of the media, and what is known of it.
type cut struct {
	image *crashbdev.Image
	parts []part
	where string
}

// part is the model of one runner's part of the tree.
type part struct {
	prefix string // of its paths
	model  Model
}

// tape takes cuts while runners work on a disk. It is a filter on the device, so that it sees every operation, and the
// guard of the models, so that a cut and what is known of it belong together.
type tape struct {
	disk       *crashbdev.Disk
	lower      bdev.Backend // what lies on the disk; nil for nothing
	late       *lateWrites  // nil: data is written at once
	lyingFlush bool

	mu      sync.Mutex
	parts   []*part
	choose  func(p place, unflushed int) []fate // how the power goes here; none: it does not
	running bool
	doing   string // operations under way, for messages
	news    bool   // since the last cut between operations
	cuts    []cut
}

// open puts a device that tells the tape on the disk.
func (t *tape) open() (*bdev.Device, error) {
	var lower bdev.Backend = t.disk
	if t.lower != nil {
		lower = t.lower
	}
	return bdev.New("crashsim", bdev.NewRelay(lower, t), bdev.Options{})
}

// Begin implements bdev.Filter.
func (t *tape) Begin(r *bdev.Request) bdev.Verdict {
	switch r.Op {
	case bdev.OpFlush:
		t.take(beforeFlush)
		return bdev.Verdict{Answered: t.lyingFlush}
	case bdev.OpWrite, bdev.OpWriteZeroes, bdev.OpUnmap:
		t.take(beforeWrite)
	}
	if t.late != nil {
		return t.late.begin(r)
	}
	return bdev.Verdict{}
}

// End implements bdev.Filter.
func (t *tape) End(r *bdev.Request, v bdev.Verdict, err error) error {
	if v.Tag != nil {
		return t.late.end(r)
	}
	if r.Op == bdev.OpFlush && err == nil {
		t.take(afterFlush)
	}
	return err
}

// take cuts the power here in every way that is chosen. The disk goes on.
func (t *tape) take(p place) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running || p == betweenOps && !t.news {
		return
	}
	t.news = p != betweenOps
	for _, f := range t.choose(p, t.disk.Unflushed()) {
		c := cut{image: f.cut(t.disk).Snapshot(), where: fmt.Sprintf("%s, %s: %s", t.doing, placeNames[p], f.name)}
		for _, part := range t.parts {
			c.parts = append(c.parts, *part)
			c.parts[len(c.parts)-1].model = part.model.snapshot()
		}
		t.cuts = append(t.cuts, c)
	}
}

// tell changes a model. Promises are news: the next cut may break them although the device has done nothing.
func (t *tape) tell(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.news = true
	change()
}

// run lets f work with the power going as chosen, and returns the cuts.
func (t *tape) run(choose func(p place, unflushed int) []fate, f func() error) ([]cut, error) {
	t.mu.Lock()
	t.choose, t.running, t.cuts = choose, true, nil
	t.mu.Unlock()
	err := f()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running = false
	return t.cuts, err
}

// live mounts the disk for f and switches it off when f is done.
func (t *tape) live(f func(fs *blobfs.FS) error) error {
	err := t.mounted(func(fs *blobfs.FS) error {
		err := f(fs)
		t.disk.CutAfter(0)
		return err
	})
	if errors.Is(err, crashbdev.ErrPoweredOff) {
		return nil // which closing the file system says
	}
	return err
}

// mounted mounts the disk for f.
func (t *tape) mounted(f func(fs *blobfs.FS) error) error {
	dev, err := t.open()
	if err != nil {
		return err
	}
	err = mounted(dev, f)
	if e := dev.Close(); err == nil {
		err = e
	}
	return err
}

// baseImage is a closed file system with the directories, on a disk whose free clusters are full of what a file must
// never show: bytes that another file had.
func baseImage(o crashbdev.Options, dirs ...string) (*crashbdev.Image, error) {
	o.SyncOps = allOps
	if o.Size == 0 {
		o.Size = diskSize
	}
	disk := crashbdev.New(o)
	format := blobfs.FormatOptions{FormatOptions: blobstore.FormatOptions{
		ClusterSize: clusterSize, MDPages: 48, JournalSize: 256 << 10, // checkpoints while runners work
	}}
	if o.Size == smallDisk {
		format.MDPages = 18
	}
	err := onDisk(disk, func(dev *bdev.Device) error {
		if err := blobfs.Format(dev, format); err != nil {
			return err
		}
		return mounted(dev, func(fs *blobfs.FS) error {
			for _, dir := range dirs {
				if err := fs.MkdirAll(dir); err != nil {
					return err
				}
			}
			return litter(fs)
		})
	})
	return disk.Snapshot(), err
}

// allOps has a disk answer at once, which is what a disk that is only looked at should do.
var allOps = bdev.Ops(bdev.OpRead, bdev.OpWrite, bdev.OpUnmap, bdev.OpWriteZeroes)

// litter fills the disk with a file and removes it.
func litter(fs *blobfs.FS) error {
	f, err := fs.Create("/litter")
	if err != nil {
		return err
	}
	for off := int64(0); fs.Usage().FreeBytes > 0; off += clusterSize {
		if _, err := f.WriteAt(data(clusterSize, ^uint64(off)), off); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return fs.Remove("/litter")
}

// data is n bytes that no other seed gives, none of them zero.
func data(n int, seed uint64) []byte {
	b := make([]byte, n)
	x := seed*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x>>24)%255 + 1
	}
	return b
}

// onDisk opens a device on a disk for f.
func onDisk(disk *crashbdev.Disk, f func(dev *bdev.Device) error) error {
	dev, err := disk.Open("crashsim")
	if err != nil {
		return err
	}
	err = f(dev)
	if e := dev.Close(); err == nil {
		err = e
	}
	return err
}

// mounted mounts the file system for f.
func mounted(dev *bdev.Device, f func(fs *blobfs.FS) error) error {
	fs, err := blobfs.Open(dev, blobfs.Options{WriteBufferBytes: writeMemory})
	if err != nil {
		return err
	}
	err = f(fs)
	if e := fs.Close(); err == nil {
		err = e
	}
	return err
}
