package aiobdev

import (
	"bytes"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

// verifyIO writes a range in one batch and reads it back in another.
func verifyIO(t *testing.T, b *Backend) {
	t.Helper()
	q := openQueue(t, b)
	const n = 3*maxBatch + 5
	data, got := randomBuffer(t, n*testBlock, 42), alignedBuffer(t, n*testBlock)
	var writes, reads []*bdev.Request
	for i := range n {
		at := i * testBlock
		writes = append(writes, transfer(bdev.OpWrite, int64(at), data[at:at+testBlock]))
		reads = append(reads, transfer(bdev.OpRead, int64(at), got[at:at+testBlock]))
	}
	for _, rs := range [][]*bdev.Request{writes, reads} {
		runAll(t, q, rs...)
		for _, r := range rs {
			require.NoError(t, r.Err())
		}
	}
	require.True(t, bytes.Equal(data, got))
	require.NoError(t, execute(b, bdev.OpFlush, 0, 0))
}

func TestReadWrite(t *testing.T) { verifyIO(t, newImage(t, Options{})) }

// TestWithoutTheMappedRing covers kernels whose ring has another layout.
func TestWithoutTheMappedRing(t *testing.T) {
	b := newImage(t, Options{})
	q := openQueue(t, b)
	require.NotNil(t, q.entries, "the layout of this kernel's ring is known")
	q.entries = nil
	data, got := randomBuffer(t, testBlock, 7), alignedBuffer(t, testBlock)
	do(t, q, bdev.OpWrite, 0, data)
	do(t, q, bdev.OpRead, 0, got)
	require.Equal(t, data, got)
}

func TestRingOfAnotherLayoutIsNotRead(t *testing.T) {
	good := ring{nr: 8, magic: ringMagic, headerLength: ringHeaderLength}
	require.True(t, good.known())
	for _, change := range []func(*ring){
		func(r *ring) { r.magic++ },
		func(r *ring) { r.incompat = 1 },
		func(r *ring) { r.headerLength += 8 },
		func(r *ring) { r.nr = 0 },
	} {
		r := ring{nr: good.nr, magic: good.magic, headerLength: good.headerLength}
		change(&r)
		require.False(t, r.known())
	}
}

func TestQueueFull(t *testing.T) {
	b := newImage(t, Options{QueueDepth: 4})
	q := openQueue(t, b)
	rs := make([]*bdev.Request, 7)
	for i := range rs {
		rs[i] = transfer(bdev.OpRead, int64(i*testBlock), alignedBuffer(t, testBlock))
	}
	require.Equal(t, 4, q.Submit(rs), "a queue takes as many as it is deep")
	require.Equal(t, 0, q.Submit(rs[4:]), "and then none until it is polled")
	for !allDone(rs[:4]) {
		q.Wait(time.Second)
		q.Poll(10)
	}
	runAll(t, q, rs[4:]...)
	for _, r := range rs {
		require.NoError(t, r.Err())
	}
}

func TestPollHonoursItsLimit(t *testing.T) {
	b := newImage(t, Options{})
	for _, mapped := range []bool{true, false} {
		q := openQueue(t, b)
		if !mapped {
			q.entries = nil
		}
		rs := make([]*bdev.Request, 5)
		for i := range rs {
			rs[i] = transfer(bdev.OpRead, 0, alignedBuffer(t, testBlock))
		}
		require.Equal(t, 5, q.Submit(rs))
		n := 0
		for n < len(rs) {
			q.Wait(time.Second)
			got := q.Poll(2)
			require.LessOrEqual(t, got, 2)
			n += got
		}
		require.True(t, allDone(rs))
	}
}

func TestWaitReturnsAtItsTimeout(t *testing.T) {
	q := openQueue(t, newImage(t, Options{}))
	q.Wait(0)
	q.Wait(-time.Second)
	q.Wait(time.Millisecond)
	require.Zero(t, q.Poll(1))
}

// TestRefusedRequestLeavesTheOthers submits a batch of which the kernel refuses the second request.
func TestRefusedRequestLeavesTheOthers(t *testing.T) {
	writer := newImage(t, Options{})
	path := writer.path
	require.NoError(t, writer.Close())
	q := openQueue(t, openImage(t, path, Options{ReadOnly: true, QueueDepth: 4}))
	rs := []*bdev.Request{
		transfer(bdev.OpRead, 0, alignedBuffer(t, testBlock)),
		transfer(bdev.OpWrite, 0, alignedBuffer(t, testBlock)),
		transfer(bdev.OpRead, testBlock, alignedBuffer(t, testBlock)),
		transfer(bdev.OpWrite, 0, alignedBuffer(t, testBlock)),
	}
	for range 3 { // no slot leaks
		for i := range rs {
			rs[i] = transfer(rs[i].Op, rs[i].Offset, rs[i].Buf)
		}
		runAll(t, q, rs...)
		for i, r := range rs {
			if i%2 == 0 {
				require.NoError(t, r.Err())
				continue
			}
			require.ErrorIs(t, r.Err(), bdev.ErrIO)
			require.ErrorIs(t, r.Err(), unix.EBADF)
		}
	}
	require.Zero(t, q.outstanding())
}

func TestKernelOutOfRequestsIsAFullQueue(t *testing.T) {
	q := openQueue(t, newImage(t, Options{QueueDepth: 4}))
	other := transfer(bdev.OpRead, 0, alignedBuffer(t, testBlock))
	require.Equal(t, 1, q.Submit([]*bdev.Request{other}))
	refuse := func(r *bdev.Request) int {
		slot, ok := q.free.take()
		require.True(t, ok)
		q.arm(slot, r)
		return q.refused([]*iocb{&q.iocbs[slot]}, unix.EAGAIN)
	}
	r := transfer(bdev.OpRead, 0, alignedBuffer(t, testBlock))
	require.Zero(t, refuse(r), "others are in flight: the caller polls and tries again")
	require.False(t, r.Done())
	for !other.Done() {
		q.Wait(time.Second)
		q.Poll(1)
	}
	require.Equal(t, 1, refuse(r), "nothing is in flight that could make room")
	require.ErrorIs(t, r.Err(), unix.EAGAIN)
	require.Zero(t, q.outstanding())
}

// TestImageCutShort reads across the end of an image that somebody truncated.
func TestImageCutShort(t *testing.T) {
	b := newImage(t, Options{})
	q := openQueue(t, b)
	require.NoError(t, os.Truncate(b.path, testSize/2))
	across := transfer(bdev.OpRead, testSize/2-testBlock, alignedBuffer(t, 2*testBlock))
	beyond := transfer(bdev.OpRead, testSize/2, alignedBuffer(t, testBlock))
	runAll(t, q, across, beyond)
	require.ErrorIs(t, across.Err(), bdev.ErrIO)
	require.ErrorContains(t, across.Err(), "only 0 of 4096 bytes", "the rest was tried")
	require.ErrorIs(t, beyond.Err(), bdev.ErrIO)
	require.Zero(t, q.outstanding())
}

// TestConcurrentSubmitters has goroutines submit while one polls; each owns a range and checks it.
func TestConcurrentSubmitters(t *testing.T) {
	const goroutines, rounds, region = 8, 40, 64
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	b := newImage(t, Options{QueueDepth: 16}) // less than are submitted
	q := openQueue(t, b)
	var stop atomic.Bool
	var poller, submitters sync.WaitGroup
	poller.Go(func() {
		for !stop.Load() {
			q.Wait(time.Millisecond)
			q.Poll(16)
		}
	})
	run := func(rs []*bdev.Request) {
		for rest := rs; len(rest) > 0; {
			rest = rest[q.Submit(rest):]
			if len(rest) > 0 {
				time.Sleep(50 * time.Microsecond)
			}
		}
		for !allDone(rs) {
			time.Sleep(50 * time.Microsecond)
		}
	}
	for g := range goroutines {
		want, got := alignedBuffer(t, region*testBlock), alignedBuffer(t, region*testBlock)
		base := int64(g * region * testBlock)
		submitters.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(g)))
			for range rounds {
				block := random.IntN(region - 4)
				at, end := block*testBlock, (block+4)*testBlock
				fillRandom(want[at:end], random.Uint64())
				run([]*bdev.Request{
					transfer(bdev.OpWrite, base+int64(at), want[at:at+testBlock]),
					transfer(bdev.OpWrite, base+int64(at+testBlock), want[at+testBlock:end]),
				})
				read := transfer(bdev.OpRead, base, got)
				run([]*bdev.Request{read})
				if read.Err() != nil || !bytes.Equal(want, got) {
					t.Errorf("goroutine %d: read back other data than written (%v)", g, read.Err())
					return
				}
			}
		})
	}
	submitters.Wait()
	stop.Store(true)
	poller.Wait()
	require.Zero(t, q.outstanding())
}

func TestNoAllocations(t *testing.T) {
	q := openQueue(t, newImage(t, Options{}))
	rs := make([]*bdev.Request, 8)
	for i := range rs {
		rs[i] = transfer(bdev.OpRead, int64(i*testBlock), alignedBuffer(t, testBlock))
	}
	allocations := testing.AllocsPerRun(50, func() {
		q.Submit(rs)
		for n := 0; n < len(rs); {
			q.Wait(time.Second)
			n += q.Poll(len(rs))
		}
	})
	require.Zero(t, allocations)
}

func TestSetupErrorTellsTheRemedy(t *testing.T) {
	b := newImage(t, Options{})
	require.ErrorContains(t, setupError(b, unix.EAGAIN), "fs.aio-max-nr")
	require.ErrorIs(t, setupError(b, unix.ENOSYS), bdev.ErrUnsupported)
	_, err := newQueue(&Backend{path: "x", depth: 1 << 30})
	require.Error(t, err)
}

func TestSlots(t *testing.T) {
	const n, goroutines, rounds = 8, 6, 20000
	s := newSlots(n)
	var owners [n]atomic.Int32
	var g sync.WaitGroup
	for range goroutines {
		g.Go(func() {
			for range rounds {
				slot, ok := s.take()
				if !ok {
					continue
				}
				if owners[slot].Add(1) != 1 {
					t.Errorf("slot %d has two owners", slot)
					return
				}
				owners[slot].Add(-1)
				s.put(slot)
			}
		})
	}
	g.Wait()
	seen := map[uint32]bool{}
	for slot, ok := s.take(); ok; slot, ok = s.take() {
		require.False(t, seen[slot])
		seen[slot] = true
	}
	require.Len(t, seen, n, "no slot is lost")
}

// TestSlotsTopNeverRepeats is the case in which a compare-and-swap of the bare index would go wrong: the same entry is
// on top again, but what lies below it has changed.
func TestSlotsTopNeverRepeats(t *testing.T) {
	s := newSlots(3)
	before := s.top.Load()
	first, _ := s.take()
	_, _ = s.take()
	s.put(first)
	require.Equal(t, uint32(before), uint32(s.top.Load()))
	require.NotEqual(t, before, s.top.Load())
}
