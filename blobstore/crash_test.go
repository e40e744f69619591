package blobstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
)

var (
	crashSeed  = flag.Uint64("crash.seed", 0, "seed of the power-cut tests; 0: from the clock")
	crashCuts  = flag.Int("crash.cuts", 200, "power cuts of TestPowerCuts")
	crashTrace = flag.Bool("crash.trace", false, "print what the workload does")
)

// crashModel is what a store must look like after a power cut: for each blob id its states in the order of their
// transactions, and which transactions were acknowledged.
type crashModel struct {
	mu      sync.Mutex
	history map[BlobID][]modelState
	acked   LSN
	files   map[uint64]*modelFile // by nonce
	nonce   uint64
}

// modelState is a blob after transaction lsn.
type modelState struct {
	lsn      LSN
	deleted  bool
	nonce    uint64
	clusters int64
	xattrs   map[string]string // without "len"
}

// modelFile is the data of a blob. Its worker owns it; the verifier looks at it when the workers are done.
type modelFile struct {
	id       BlobID
	nonce    uint64
	clusters int64
	xattrs   map[string]string
	lengths  []modelLength // acceptable ones, ascending by lsn; the first is certain
	lastLSN  LSN           // of the newest length change
	blocks   [][]uint32    // for each whole block the versions that may be there
}

type modelLength struct {
	lsn LSN
	n   int64
}

func (f *modelFile) length() int64 { return f.lengths[len(f.lengths)-1].n }

// sectorOf is the content of sector i of a file in one version.
func (f *modelFile) sectorOf(i int64, version uint32) []byte {
	b := make([]byte, 512)
	for k := 0; k < len(b); k += 16 {
		binary.LittleEndian.PutUint64(b[k:], f.nonce<<32|uint64(i)<<6|uint64(k/16))
		binary.LittleEndian.PutUint32(b[k+8:], version)
		binary.LittleEndian.PutUint32(b[k+12:], crc32.ChecksumIEEE(b[k:k+12]))
	}
	return b
}

// content is [from, to) with each block in its newest version.
func (f *modelFile) content(from, to int64) []byte {
	var b []byte
	for s := from / 512; s*512 < to; s++ {
		v := uint32(0)
		if blk := int(s / 8); blk < len(f.blocks) && len(f.blocks[blk]) > 0 {
			v = f.blocks[blk][len(f.blocks[blk])-1]
		}
		b = append(b, f.sectorOf(s, v)...)
	}
	return b[from%512 : from%512+to-from]
}

func lengthValue(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }

// crashWorker changes a store at random until an operation fails.
type crashWorker struct {
	s     *Store
	m     *crashModel
	rng   *rand.Rand
	files []*modelFile
	n     int
}

func (w *crashWorker) trace(format string, args ...any) {
	if *crashTrace {
		fmt.Printf("%d: "+format+"\n", append([]any{w.n}, args...)...)
	}
}

// run carries out steps until the power dies or the budget is used up.
func (w *crashWorker) run(steps int) error {
	for range steps {
		if err := w.step(); err != nil {
			return err
		}
	}
	return nil
}

func (w *crashWorker) step() error {
	k := w.rng.IntN(100)
	if len(w.files) == 0 || k < 8 && len(w.files) < 6 {
		return w.create()
	}
	f := w.files[w.rng.IntN(len(w.files))]
	switch {
	case k < 14:
		return w.remove(f)
	case k < 24:
		return w.attribute(f)
	case k < 34:
		return w.swap()
	case k < 45:
		return w.overwrite(f)
	case k < 55:
		return w.appendPlain(f)
	case k < 60:
		return w.shrink(f)
	default:
		return w.appendVouched(f)
	}
}

// record notes the state of files after transaction lsn.
func (m *crashModel) record(lsn LSN, files ...*modelFile) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range files {
		m.history[f.id] = append(m.history[f.id], modelState{lsn: lsn, nonce: f.nonce, clusters: f.clusters, xattrs: maps.Clone(f.xattrs)})
	}
}

func (m *crashModel) ack(lsn LSN) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked = max(m.acked, lsn)
}

func (w *crashWorker) create() error {
	tx := w.s.Begin()
	id := tx.Create()
	w.m.mu.Lock()
	w.m.nonce++
	f := &modelFile{id: id, nonce: w.m.nonce, xattrs: map[string]string{}}
	w.m.mu.Unlock()
	tx.SetXattr(id, "nonce", binary.LittleEndian.AppendUint64(nil, f.nonce))
	tx.SetXattr(id, "len", lengthValue(0))
	lsn, err := tx.Commit()
	w.trace("create %v nonce %d lsn %d: %v", id, f.nonce, lsn, err)
	if errors.Is(err, ErrNoSpace) {
		return nil
	}
	if err != nil {
		return err
	}
	f.lengths = []modelLength{{lsn, 0}}
	f.lastLSN = lsn
	w.m.mu.Lock()
	w.m.files[f.nonce] = f
	w.m.mu.Unlock()
	w.m.record(lsn, f)
	w.files = append(w.files, f)
	return w.maybeSync(lsn)
}

// maybeSync makes a transaction durable half of the time.
func (w *crashWorker) maybeSync(lsn LSN) error {
	if w.rng.IntN(2) == 0 {
		return nil
	}
	err := w.s.Sync(lsn)
	w.trace("sync %d: %v", lsn, err)
	if err == nil {
		w.m.ack(lsn)
	}
	return err
}

func (w *crashWorker) remove(f *modelFile) error {
	tx := w.s.Begin()
	tx.Delete(f.id)
	lsn, err := tx.Commit()
	w.trace("delete %v lsn %d: %v", f.id, lsn, err)
	if err != nil {
		return err
	}
	w.m.mu.Lock()
	w.m.history[f.id] = append(w.m.history[f.id], modelState{lsn: lsn, deleted: true, nonce: f.nonce})
	w.m.mu.Unlock()
	w.files = slices.DeleteFunc(w.files, func(o *modelFile) bool { return o == f })
	return w.maybeSync(lsn)
}

func (w *crashWorker) attribute(f *modelFile) error {
	name := fmt.Sprintf("x%d", w.rng.IntN(4))
	tx := w.s.Begin()
	next := maps.Clone(f.xattrs)
	if w.rng.IntN(4) == 0 {
		tx.RemoveXattr(f.id, name)
		delete(next, name)
	} else {
		v := fill(w.rng.IntN(1500), w.rng.Uint64())
		tx.SetXattr(f.id, name, v)
		next[name] = string(v)
	}
	lsn, err := tx.Commit()
	w.trace("xattr %v %s lsn %d: %v", f.id, name, lsn, err)
	if errors.Is(err, ErrNoSpace) {
		return nil
	}
	if err != nil {
		return err
	}
	f.xattrs = next
	w.m.record(lsn, f)
	return w.maybeSync(lsn)
}

// swap exchanges an attribute of two blobs in one transaction, as a rename over another file would.
func (w *crashWorker) swap() error {
	a, b := w.files[w.rng.IntN(len(w.files))], w.files[w.rng.IntN(len(w.files))]
	if a == b {
		return nil
	}
	tx := w.s.Begin()
	v := fmt.Sprint(w.rng.Uint32())
	tx.SetXattr(a.id, "link", []byte(v))
	tx.SetXattr(b.id, "link", []byte("not "+v))
	lsn, err := tx.Commit()
	w.trace("swap %v %v lsn %d: %v", a.id, b.id, lsn, err)
	if errors.Is(err, ErrNoSpace) {
		return nil
	}
	if err != nil {
		return err
	}
	a.xattrs, b.xattrs = maps.Clone(a.xattrs), maps.Clone(b.xattrs)
	a.xattrs["link"], b.xattrs["link"] = v, "not "+v
	w.m.record(lsn, a, b)
	return w.maybeSync(lsn)
}

// grow makes room for length n.
func (w *crashWorker) grow(f *modelFile, n int64) (ok bool, err error) {
	need := (n + int64(w.s.ClusterSize()) - 1) / int64(w.s.ClusterSize())
	if need <= f.clusters {
		return true, nil
	}
	tx := w.s.Begin()
	tx.Resize(f.id, need)
	lsn, err := tx.Commit()
	w.trace("grow %v to %d lsn %d: %v", f.id, need, lsn, err)
	if errors.Is(err, ErrNoSpace) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f.clusters = need
	w.m.record(lsn, f)
	return true, nil
}

// startAppend starts the data write of an append of n bytes: whole blocks, the tail block again with its old bytes.
func (w *crashWorker) startAppend(f *modelFile, n int64, io *IO) (Vouch, []byte, error) {
	old := f.length()
	first := old / BlockSize * BlockSize
	data := f.content(first, old+n)
	v := Vouch{old, n, checksumOf(data[old-first:])}
	data = append(data, make([]byte, (BlockSize-len(data)%BlockSize)%BlockSize)...)
	b, err := w.s.Blob(f.id)
	if err != nil {
		return v, nil, err
	}
	b.StartWrite(io, data, first)
	return v, data, nil
}

// extendBlocks notes the blocks of a new length.
func (f *modelFile) extendBlocks(n int64) {
	for int64(len(f.blocks)) < (n+BlockSize-1)/BlockSize {
		f.blocks = append(f.blocks, []uint32{0})
	}
}

func (w *crashWorker) appendVouched(f *modelFile) error {
	n := 1 + w.rng.Int64N(20000)
	if ok, err := w.grow(f, f.length()+n); !ok || err != nil {
		return err
	}
	var io IO
	v, _, err := w.startAppend(f, n, &io)
	if err != nil {
		return err
	}
	tx := w.s.Begin()
	tx.SetXattrVouched(f.id, "len", lengthValue(f.length()+n), v)
	lsn, err := tx.Commit()
	if err != nil {
		_ = io.Wait()
		return err
	}
	f.extendBlocks(f.length() + n)
	f.lengths = append(f.lengths, modelLength{lsn, f.length() + n})
	f.lastLSN = lsn
	w.m.record(lsn, f)
	err = w.s.SyncVouched(lsn, &io)
	w.trace("append vouched %v to %d lsn %d: %v", f.id, f.length(), lsn, err)
	if err == nil {
		f.lengths = f.lengths[len(f.lengths)-1:]
		w.m.ack(lsn)
	}
	return err
}

func (w *crashWorker) appendPlain(f *modelFile) error {
	n := 1 + w.rng.Int64N(20000)
	if ok, err := w.grow(f, f.length()+n); !ok || err != nil {
		return err
	}
	var io IO
	if _, _, err := w.startAppend(f, n, &io); err != nil {
		return err
	}
	if err := w.s.SyncData(&io); err != nil {
		return err
	}
	return w.setLength(f, f.length()+n, false)
}

// setLength changes the length by a plain attribute.
func (w *crashWorker) setLength(f *modelFile, n int64, shrink bool) error {
	tx := w.s.Begin()
	tx.SetXattr(f.id, "len", lengthValue(n))
	clusters := f.clusters
	if shrink {
		clusters = (n + int64(w.s.ClusterSize()) - 1) / int64(w.s.ClusterSize())
		tx.Resize(f.id, clusters)
	}
	lsn, err := tx.Commit()
	w.trace("length %v to %d, clusters %d, lsn %d: %v", f.id, n, clusters, lsn, err)
	if err != nil {
		return err
	}
	f.clusters = clusters
	f.extendBlocks(n)
	f.lengths = append(f.lengths, modelLength{lsn, n})
	f.lastLSN = lsn
	w.m.record(lsn, f)
	if err := w.s.Sync(lsn); err != nil {
		return err
	}
	f.lengths = f.lengths[len(f.lengths)-1:]
	f.blocks = f.blocks[:(n+BlockSize-1)/BlockSize]
	w.m.ack(lsn)
	return nil
}

// shrink cuts a file to a block boundary, so that no byte below the new length changes.
func (w *crashWorker) shrink(f *modelFile) error {
	if f.length() == 0 {
		return nil
	}
	return w.setLength(f, w.rng.Int64N(f.length())/BlockSize*BlockSize, true)
}

// overwrite changes a block below the length, which needs the confirmation of what vouched for it.
func (w *crashWorker) overwrite(f *modelFile) error {
	whole := f.length() / BlockSize
	if whole == 0 {
		return nil
	}
	if err := w.s.Confirm(f.lastLSN); err != nil {
		return err
	}
	b, err := w.s.Blob(f.id)
	if err != nil {
		return err
	}
	blk := w.rng.Int64N(whole)
	versions := f.blocks[blk]
	f.blocks[blk] = append(slices.Clone(versions), versions[len(versions)-1]+1)
	var io IO
	b.StartWrite(&io, f.content(blk*BlockSize, (blk+1)*BlockSize), blk*BlockSize)
	if w.rng.IntN(2) == 0 {
		err = io.Wait()
	} else if err = w.s.SyncData(&io); err == nil {
		f.blocks[blk] = f.blocks[blk][len(f.blocks[blk])-1:]
	}
	w.trace("overwrite %v block %d: %v", f.id, blk, err)
	return err
}

// verify compares a recovered store with the model and makes it the model's new beginning.
func (m *crashModel) verify(s *Store) error {
	last := s.LastLSN()
	if last < m.acked {
		return fmt.Errorf("transaction %d was acknowledged, recovery ends at %d", m.acked, last)
	}
	want := make(map[BlobID]modelState)
	for id, states := range m.history {
		slices.SortFunc(states, func(a, b modelState) int { return int(a.lsn) - int(b.lsn) })
		for _, st := range states {
			if st.lsn <= last {
				want[id] = st
			}
		}
	}
	maps.DeleteFunc(want, func(_ BlobID, st modelState) bool { return st.deleted })
	ids := slices.DeleteFunc(s.IDs(), func(id BlobID) bool { return id == s.journalID })
	if len(ids) != len(want) {
		return fmt.Errorf("at transaction %d: blobs %v, want %v", last, ids, slices.Sorted(maps.Keys(want)))
	}
	alive := make(map[uint64]*modelFile)
	for id, st := range want {
		f := m.files[st.nonce]
		if err := f.verify(s, id, st, last); err != nil {
			return fmt.Errorf("at transaction %d (acknowledged %d): blob %v: %w", last, m.acked, id, err)
		}
		alive[f.nonce] = f
	}
	m.files, m.history, m.acked = alive, make(map[BlobID][]modelState), last
	for _, f := range alive {
		m.record(last, f)
	}
	return nil
}

func (f *modelFile) verify(s *Store, id BlobID, st modelState, last LSN) error {
	b, err := s.Blob(id)
	if err != nil {
		return err
	}
	got := b.Xattrs()
	if n := binary.LittleEndian.Uint64(got["nonce"]); n != st.nonce {
		return fmt.Errorf("nonce %d, want %d", n, st.nonce)
	}
	length := int64(binary.LittleEndian.Uint64(got["len"]))
	delete(got, "nonce")
	delete(got, "len")
	if len(got) != len(st.xattrs) {
		return fmt.Errorf("%d xattrs, want %d", len(got), len(st.xattrs))
	}
	for k, v := range st.xattrs {
		if string(got[k]) != v {
			return fmt.Errorf("xattr %q differs", k)
		}
	}
	if b.Clusters() != st.clusters {
		return fmt.Errorf("%d clusters, want %d", b.Clusters(), st.clusters)
	}
	ok := slices.ContainsFunc(f.lengths, func(l modelLength) bool { return l.n == length && l.lsn <= last })
	if !ok {
		return fmt.Errorf("length %d, want one of %v", length, f.lengths)
	}
	f.lengths = []modelLength{{last, length}}
	f.lastLSN, f.xattrs, f.clusters = last, st.xattrs, st.clusters
	return f.verifyContent(b, length)
}

func (f *modelFile) verifyContent(b *Blob, length int64) error {
	n := (length + BlockSize - 1) / BlockSize * BlockSize
	data := make([]byte, n)
	if err := b.Read(data, 0); err != nil {
		return err
	}
	for at := int64(0); at < length; at += 512 {
		k := min(512, length-at)
		versions := f.blocks[at/BlockSize]
		ok := slices.ContainsFunc(versions, func(v uint32) bool {
			return bytes.Equal(f.sectorOf(at/512, v)[:k], data[at:at+k])
		})
		if !ok {
			return fmt.Errorf("byte %d of %d: not the file's content in version %v", at, length, versions)
		}
	}
	f.blocks = f.blocks[:n/BlockSize]
	return nil
}

// crashChain is one disk that loses power again and again.
type crashChain struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	model *crashModel
	disk  *crashbdev.Disk
	late  time.Duration // how long data writes may be under way, 0: not at all
	data  int64         // byte offset of the first cluster for data
}

func (c *crashChain) open(disk *crashbdev.Disk) *bdev.Device {
	var backend bdev.Backend = disk
	if c.late > 0 {
		direct, err := disk.Open("crash:direct")
		require.NoError(c.t, err)
		backend = bdev.NewRelay(disk, &lateWrites{disk: direct, from: c.data, delay: c.late})
	}
	dev, err := bdev.New("crash:test", backend, bdev.Options{})
	require.NoError(c.t, err)
	return dev
}

// lateWrites keeps data writes from the disk for a while, so that other operations overtake them.
type lateWrites struct {
	disk  *bdev.Device
	from  int64 // byte offset where data begins
	delay time.Duration
}

func (l *lateWrites) Begin(r *bdev.Request) bdev.Verdict {
	if r.Op != bdev.OpWrite || r.Offset < l.from {
		return bdev.Verdict{}
	}
	return bdev.Verdict{Answered: true, Delay: rand.N(l.delay), Tag: l}
}

func (l *lateWrites) End(r *bdev.Request, v bdev.Verdict, err error) error {
	if v.Tag == nil {
		return err
	}
	return l.disk.Write(r.Buf, r.Offset)
}

// workload runs workers until the power dies, then closes nothing.
func (c *crashChain) workload(s *Store, workers int) {
	files := slices.SortedFunc(maps.Values(c.model.files), func(a, b *modelFile) int { return int(a.nonce) - int(b.nonce) })
	var wg sync.WaitGroup
	for i := range workers {
		w := &crashWorker{s: s, m: c.model, rng: rand.New(rand.NewPCG(c.rng.Uint64(), 0)), n: i}
		for k, f := range files {
			if k%workers == i {
				w.files = append(w.files, f)
			}
		}
		wg.Go(func() { _ = w.run(400) })
	}
	wg.Wait()
}

// cut draws the state that the media are left in.
func (c *crashChain) cut() {
	mode := crashbdev.Random
	if c.rng.IntN(3) == 0 {
		mode = crashbdev.Modes()[c.rng.IntN(len(crashbdev.Modes()))]
	}
	c.disk = c.disk.Cut(mode, c.rng.Uint64())
}

// recover opens the store, losing power in the middle of it a few times, and verifies what is there.
func (c *crashChain) recover() (*Store, *bdev.Device) {
	for range c.rng.IntN(3) {
		c.disk.CutAfter(1 + c.rng.Int64N(1+c.rng.Int64N(30)))
		dev := c.open(c.disk)
		if *crashTrace {
			_ = DumpJournal(os.Stdout, dev)
		}
		if s, err := Open(dev, OpenOptions{}); err == nil {
			abandon(s)
		} else {
			require.ErrorIs(c.t, err, crashbdev.ErrPoweredOff, "seed %d: recovery fails", c.seed)
		}
		_ = dev.Close()
		c.cut()
	}
	dev := c.open(c.disk)
	if *crashTrace {
		_ = DumpJournal(os.Stdout, dev)
	}
	if c.rng.IntN(4) == 0 {
		before := c.disk.Counters().Ops()
		ro, err := Open(dev, OpenOptions{ReadOnly: true})
		require.NoError(c.t, err, "seed %d: recovery in memory", c.seed)
		require.NoError(c.t, ro.Close())
		require.Equal(c.t, before, c.disk.Counters().Ops(), "seed %d: opening to read wrote", c.seed)
	}
	s, err := Open(dev, OpenOptions{})
	require.NoError(c.t, err, "seed %d: recovery", c.seed)
	checkInvariants(c.t, s)
	if err := c.model.verify(s); err != nil {
		c.t.Fatalf("seed %d: %v", c.seed, err)
	}
	return s, dev
}

// run formats a disk and cuts its power cuts times.
func (c *crashChain) run(cuts int) {
	block := []int{512, 4096}[c.rng.IntN(2)]
	c.disk = crashbdev.New(crashbdev.Options{
		Size: 8 << 20, BlockSize: block, Sparse: c.rng.IntN(3) == 0, CompletionSeed: c.rng.Uint64(),
	})
	dev := c.open(c.disk)
	require.NoError(c.t, Format(dev, FormatOptions{ClusterSize: 65536, MDPages: 64, JournalSize: 256 << 10}))
	s, err := Open(dev, OpenOptions{})
	require.NoError(c.t, err)
	c.data = s.super.clusterOffset(clusterIndex(s.super.mdClusters())) + int64(s.j.geo.blocks)*journalBlock
	require.NoError(c.t, s.Close())
	require.NoError(c.t, dev.Close())
	if c.rng.IntN(2) == 0 {
		c.late = time.Duration(1 + c.rng.Int64N(400e3))
	}
	dev = c.open(c.disk)
	s, err = Open(dev, OpenOptions{})
	require.NoError(c.t, err)
	for range cuts {
		c.disk.CutAfter(1 + c.rng.Int64N(400))
		c.workload(s, 1+c.rng.IntN(4))
		if c.rng.IntN(4) == 0 {
			_ = s.Close() // that may be what the power dies in
		} else {
			abandon(s)
		}
		_ = dev.Close()
		c.cut()
		s, dev = c.recover()
	}
	closeAndCheck(c.t, s)
	require.NoError(c.t, dev.Close())
}

func TestPowerCuts(t *testing.T) {
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (-crash.seed)", seed)
	const chain = 5
	for i := range max(1, *crashCuts/chain) {
		sub := seed + uint64(i)
		c := crashChain{t: t, seed: sub, rng: rand.New(rand.NewPCG(sub, 1)), model: newCrashModel()}
		c.run(chain)
	}
}

func newCrashModel() *crashModel {
	return &crashModel{history: make(map[BlobID][]modelState), files: make(map[uint64]*modelFile)}
}
