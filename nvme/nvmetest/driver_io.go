package nvmetest

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// identifies compares what the driver says with what the controller was made as.
func identifies(r *rig) {
	id := r.c.Identify()
	require.NotEmpty(r, id.Model())
	require.NotEmpty(r, id.Serial())
	require.True(r, r.c.Version().AtLeast(1, 3), "%v", r.c.Version())
	require.Equal(r, r.env.Queues, r.c.MaxQueues())
	usable := map[uint32]*nvme.NamespaceInfo{}
	for _, n := range r.c.Namespaces() {
		usable[n.ID()] = n.Info()
	}
	for i, want := range r.env.Namespaces {
		id := uint32(i + 1)
		got := usable[id]
		if want.Detached {
			require.Nil(r, got)
			_, err := r.c.Namespace(id)
			require.ErrorIs(r, err, nvme.ErrNoNamespace)
			continue
		}
		require.NotNil(r, got, "namespace %d", id)
		require.Equal(r, want.LBA, got.BlockSize)
		require.Equal(r, want.MS, got.MetaSize)
		require.EqualValues(r, want.PI, got.Protection)
		require.Equal(r, want.Extended, got.Extended)
		require.Equal(r, !r.env.NoCache, got.WriteCache)
		require.Equal(r, want.Zoned, got.ZoneBlocks > 0)
		require.LessOrEqual(r, got.MaxTransfer, 4096<<r.env.MDTS)
		require.Positive(r, got.MaxTransfer)
		bytes := got.Blocks * uint64(want.LBA+want.MS)
		require.LessOrEqual(r, bytes, uint64(want.MiB)<<20)
		require.Greater(r, bytes, uint64(want.MiB)<<20*3/4)
	}
}

// logs reads what every controller has.
func logs(r *rig) {
	smart, err := r.c.SMART(spec.BroadcastNSID)
	require.NoError(r, err)
	require.NotZero(r, smart.Temperature)
	_, err = r.c.ErrorLog(4)
	require.NoError(r, err)
	slots, err := r.c.FirmwareSlots()
	require.NoError(r, err)
	require.NotEmpty(r, slots.Slot(1))
	effects, err := r.c.Effects()
	require.NoError(r, err)
	require.NotZero(r, effects.IO[spec.CmdRead]&1, "read is not supported")
	_, err = r.c.Feature(spec.FeatTemperature, 0, spec.SelectCurrent, nil)
	require.NoError(r, err)
}

// lengths are numbers of blocks around the limits: one, the largest transfer, beyond; and what has a sector of metadata with
// its neighbours.
func lengths(b block) []int {
	most := max(1, b.MaxTransfer/b.unit())
	list := []int{1, 2, 7, most - 1, most, most + 1, 3*most + 1}
	if b.MetaSize > 0 {
		list = append(list, sectorBytes/b.MetaSize-2)
	}
	return list
}

const sectorBytes = 512

// cut tells whether the controller loses metadata of n blocks: dma_blk_cb of QEMU 7.2, where it maps a piece of metadata that is
// longer than a sector and no multiple of one, transfers what is beyond the whole sectors and drops those, where it ought to do
// the opposite. Metadata that lies between blocks comes in such pieces always. Protection information goes another way.
func (r *rig) cut(b block, n int) bool {
	if !r.env.CutsMeta || b.Protection > 0 {
		return false
	}
	most := max(1, b.MaxTransfer/b.unit())
	lost := func(blocks int) bool {
		size := blocks * b.MetaSize
		return size > sectorBytes && (b.Extended || size%sectorBytes != 0)
	}
	return lost(min(n, most)) || lost(n%most)
}

// readWrite writes and reads lengths that are split in every way, at odd places in memory, and checks the neighbours.
func readWrite(r *rig) {
	require.NotEmpty(r, r.c.Namespaces())
	for _, b := range r.blocks() {
		for _, n := range lengths(b) {
			if n < 1 || (n+2)*(b.unit()+b.MetaSize) > bufferBytes/4 || r.cut(b, n) || r.cut(b, n+2) {
				continue
			}
			r.off = 0
			lba := 1 + uint64(r.rng.Int64N(int64(b.Blocks)-int64(n)-2))
			around := r.request(nvme.OpWrite, b, lba-1, n+2)
			require.NoError(r, r.do(around))
			r.off += 4 * r.rng.IntN(500)
			w := r.request(nvme.OpWrite, b, lba, n)
			w.Flags = nvme.FlagFUA * nvme.Flags(r.rng.IntN(2))
			require.NoError(r, r.do(w))
			got := r.request(nvme.OpRead, b, lba-1, n+2)
			require.NoError(r, r.do(got))
			u, m := b.unit(), len(w.Meta)/n
			require.True(r, bytes.Equal(w.Buf, got.Buf[u:u*(n+1)]), "namespace %d, %d blocks at %d", b.NamespaceInfo.ID, n, lba)
			require.True(r, bytes.Equal(around.Buf[:u], got.Buf[:u]) && bytes.Equal(around.Buf[u*(n+1):], got.Buf[u*(n+1):]), "neighbours")
			require.True(r, bytes.Equal(w.Meta, got.Meta[m*min(1, len(got.Meta)):len(got.Meta)-m]), "metadata of namespace %d, %d blocks at %d", b.NamespaceInfo.ID, n, lba)
		}
	}
	require.NoError(r, r.do(nvme.Request{Op: nvme.OpFlush, NS: r.c.Namespaces()[0]}))
}

// allQueues keeps as many queue pairs busy as there are, each from its own goroutine on its own part of a namespace.
func allQueues(r *rig) {
	list := r.blocks()
	if len(list) == 0 {
		r.Skip("zoned namespaces only")
	}
	b := list[0]
	queues := []*nvme.Queue{r.q}
	for len(queues) < r.c.MaxQueues() {
		q, err := r.c.OpenQueue(nvme.QueueOptions{})
		require.NoError(r, err)
		queues = append(queues, q)
	}
	_, err := r.c.OpenQueue(nvme.QueueOptions{})
	require.ErrorIs(r, err, nvme.ErrNoQueues)
	var all sync.WaitGroup
	share := int(b.Blocks) / len(queues)
	r.off = 0
	depth := min(64, bufferBytes/2/len(queues)/(b.unit()+b.MetaSize))
	for i, q := range queues {
		l := newLoad(r, b, q, uint64(i*share), min(share, depth))
		all.Go(func() { l.run(max(2, 32/len(queues))) })
	}
	all.Wait()
	for _, q := range queues {
		require.NotZero(r, q.Stats().Completions)
	}
	for _, q := range queues[1:] {
		require.NoError(r, q.Close())
	}
	again, err := r.c.OpenQueue(nvme.QueueOptions{})
	if len(queues) > 1 {
		require.NoError(r, err)
		require.NoError(r, again.Close())
	}
}

// load keeps several requests of one queue in flight, on a part of a namespace that nobody else writes to, and knows what
// every block holds.
type load struct {
	t     testing.TB
	b     block
	q     *nvme.Queue
	first uint64
	reqs  []nvme.Request // each owns a block of the part and its memory
	wrote [][]byte       // what the block holds
	rng   *rand.Rand
}

func newLoad(r *rig, b block, q *nvme.Queue, first uint64, blocks int) *load {
	l := &load{t: r, b: b, q: q, first: first, rng: rand.New(rand.NewPCG(r.rng.Uint64(), 0))}
	for i := range min(blocks, q.Depth()) {
		l.reqs = append(l.reqs, r.request(nvme.OpWrite, b, first+uint64(i), 1))
		l.wrote = append(l.wrote, nil)
	}
	return l
}

// run does a number of rounds: all blocks are written and read in turn, each in flight beside the others.
func (l *load) run(rounds int) {
	done := make([]*nvme.Request, len(l.reqs))
	left := make([]int, len(l.reqs))
	var ready []*nvme.Request
	for i := range l.reqs {
		left[i] = 2 * rounds
		ready = append(ready, l.next(i))
	}
	outstanding := 0
	for end := time.Now().Add(doneTime); len(ready) > 0 || outstanding > 0; {
		n := l.q.Submit(ready)
		outstanding += n
		ready = ready[n:]
		for _, q := range done[:l.q.Poll(done)] {
			outstanding--
			i := int(q.LBA - l.first)
			l.check(i)
			if left[i]--; left[i] > 0 {
				ready = append(ready, l.next(i))
			}
		}
		if time.Now().After(end) {
			l.t.Errorf("%d requests are not done", outstanding)
			return
		}
	}
}

// next makes the next request of a block: a write of something new after a read, a read after a write.
func (l *load) next(i int) *nvme.Request {
	q := &l.reqs[i]
	if q.Op == nvme.OpWrite && l.wrote[i] != nil {
		q.Op = nvme.OpRead
		fill(q.Buf[:min(8, len(q.Buf))], l.rng)
		return q
	}
	q.Op = nvme.OpWrite
	fill(q.Buf[:l.b.BlockSize], l.rng)
	if l.b.Protection > 0 {
		if err := l.b.InsertProtection(q.Buf, q.Meta, q.PI); err != nil {
			l.t.Error(err)
		}
	}
	l.wrote[i] = bytes.Clone(q.Buf)
	return q
}

func (l *load) check(i int) {
	q := &l.reqs[i]
	if q.Err != nil {
		l.t.Errorf("%v of block %d: %v", q.Op, q.LBA, q.Err)
	} else if q.Op == nvme.OpRead && !bytes.Equal(q.Buf, l.wrote[i]) {
		l.t.Errorf("block %d holds something else", q.LBA)
	}
}

// commands tries what else the controller says that it has.
func commands(r *rig) {
	for _, b := range r.blocks() {
		w := r.request(nvme.OpWrite, b, 64, 8)
		require.NoError(r, r.do(w))
		read := func(lba uint64) nvme.Request {
			q := r.request(nvme.OpRead, b, lba, 8)
			q.PI = nvme.Protect{}
			require.NoError(r, r.do(q))
			return q
		}
		if b.Ops.Has(nvme.OpVerify) {
			require.NoError(r, r.do(nvme.Request{Op: nvme.OpVerify, NS: b.Namespace, LBA: 64, Blocks: 8}))
		}
		if b.Ops.Has(nvme.OpCompare) && b.MetaSize == 0 {
			same := nvme.Request{Op: nvme.OpCompare, NS: b.Namespace, LBA: 64, Buf: w.Buf}
			require.NoError(r, r.do(same))
			same.Buf = r.random(len(w.Buf))
			require.ErrorIs(r, r.do(same), nvme.ErrMiscompare)
		}
		if b.Ops.Has(nvme.OpCopy) && b.Protection == 0 {
			require.NoError(r, r.do(nvme.Request{Op: nvme.OpCopy, NS: b.Namespace, LBA: 128, Ranges: []nvme.Range{{LBA: 68, Blocks: 4}, {LBA: 64, Blocks: 4}}}))
			half := 4 * b.unit()
			require.Equal(r, append(bytes.Clone(w.Buf[half:]), w.Buf[:half]...), read(128).Buf)
		}
		if b.Ops.Has(nvme.OpWriteZeroes) {
			require.NoError(r, r.do(nvme.Request{Op: nvme.OpWriteZeroes, NS: b.Namespace, LBA: 66, Blocks: 3}))
			got := read(64)
			for i := 2; i < 5; i++ {
				require.Equal(r, make([]byte, b.BlockSize), got.Buf[i*b.unit():][:b.BlockSize])
			}
			require.Equal(r, w.Buf[5*b.unit():], got.Buf[5*b.unit():])
		}
		if b.Ops.Has(nvme.OpDeallocate) {
			require.NoError(r, r.do(nvme.Request{Op: nvme.OpDeallocate, NS: b.Namespace, Ranges: []nvme.Range{{LBA: 64, Blocks: 2}, {LBA: 70, Blocks: 1}}}))
			require.Equal(r, w.Buf[5*b.unit():6*b.unit()], read(64).Buf[5*b.unit():6*b.unit()], "beside what was deallocated")
		}
		require.NoError(r, r.do(nvme.Request{Op: nvme.OpFlush, NS: b.Namespace}))
	}
}

// protect is the protection of a block's place.
func protect(b block, lba uint64) nvme.Protect {
	p := nvme.Protect{Flags: spec.PRCHKGuard | spec.PRCHKApp, App: 0x1234, AppMask: 0xffff, RefTag: uint32(lba)}
	if b.Protection != 3 {
		p.Flags |= spec.PRCHKRef
	}
	return p
}

// protection damages each part of the information and wants the controller to say so; then lets the controller make it.
func protection(r *rig) {
	tried := false
	for _, b := range r.blocks() {
		if b.Protection == 0 {
			continue
		}
		tried = true
		const lba = 256
		good := r.request(nvme.OpWrite, b, lba, 9)
		require.NoError(r, r.do(good))
		got := r.request(nvme.OpRead, b, lba, 9)
		require.NoError(r, r.do(got))
		require.NoError(r, b.CheckProtection(got.Buf, got.Meta, got.PI))
		require.True(r, bytes.Equal(good.Buf, got.Buf) && bytes.Equal(good.Meta, got.Meta))

		bad := r.request(nvme.OpWrite, b, lba, 9)
		bad.Buf[5*b.unit()+3] ^= 1 // the guard finds it
		require.ErrorIs(r, r.do(bad), nvme.ErrProtection)
		wrong := r.request(nvme.OpRead, b, lba, 9)
		wrong.PI.App++
		require.ErrorIs(r, r.do(wrong), nvme.ErrProtection)
		if b.Protection == 1 && r.env.TiesTags {
			moved := r.request(nvme.OpWrite, b, lba, 9)
			moved.PI.RefTag++
			require.NoError(r, b.InsertProtection(moved.Buf, moved.Meta, moved.PI))
			require.Error(r, r.do(moved), "protection type 1 ties the tag to the block")
		}
		r.inserted(b, lba)
	}
	if !tried {
		r.Skip("no namespace has protection information")
	}
}

// inserted lets the controller make and strip the information, where that is all the metadata there is.
func (r *rig) inserted(b block, lba uint64) {
	if b.MetaSize != spec.PISize {
		return
	}
	p := protect(b, lba)
	p.Flags |= spec.PRACT
	w := nvme.Request{Op: nvme.OpWrite, NS: b.Namespace, LBA: lba, Buf: r.random(5 * b.BlockSize), PI: p}
	require.NoError(r, r.do(w))
	bare := nvme.Request{Op: nvme.OpRead, NS: b.Namespace, LBA: lba, Buf: r.random(5 * b.BlockSize), PI: p}
	require.NoError(r, r.do(bare))
	require.True(r, bytes.Equal(w.Buf, bare.Buf))
	whole := r.request(nvme.OpRead, b, lba, 5)
	require.NoError(r, r.do(whole))
	require.NoError(r, b.CheckProtection(whole.Buf, whole.Meta, whole.PI), "what the controller made")
}
