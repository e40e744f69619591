package bdev_test

import (
	"bytes"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/crashbdev"
)

// scriptedFilter answers from a function.
type scriptedFilter struct {
	begin func(*bdev.Request) bdev.Verdict
	end   func(*bdev.Request, bdev.Verdict, error) error
}

func (f scriptedFilter) Begin(r *bdev.Request) bdev.Verdict { return f.begin(r) }

func (f scriptedFilter) End(r *bdev.Request, v bdev.Verdict, err error) error {
	if f.end == nil {
		return err
	}
	return f.end(r, v, err)
}

func relayQueue(t *testing.T, o crashbdev.Options, f bdev.Filter) bdev.Queue {
	t.Helper()
	q, err := bdev.NewRelay(crashbdev.New(o), f).NewQueue()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	return q
}

func pass(*bdev.Request) bdev.Verdict { return bdev.Verdict{} }

// TestRelayFull submits more than the queue below takes: nothing is lost, nothing is seen twice by the filter.
func TestRelayFull(t *testing.T) {
	var begun atomic.Int64
	q := relayQueue(t, crashbdev.Options{QueueDepth: 2}, scriptedFilter{begin: func(*bdev.Request) bdev.Verdict {
		begun.Add(1)
		return bdev.Verdict{}
	}})
	var rs []*bdev.Request
	for range 10 {
		rs = append(rs, &bdev.Request{Op: bdev.OpFlush})
	}
	taken := q.Submit(rs)
	require.Equal(t, 3, taken, "two below, one held")
	require.Zero(t, q.Submit(rs[taken:]))
	for done := 0; done < len(rs); {
		q.Wait(time.Second)
		done += q.Poll(math.MaxInt)
		taken += q.Submit(rs[taken:])
	}
	require.EqualValues(t, len(rs), begun.Load())
	for _, r := range rs {
		require.True(t, r.Done())
		require.NoError(t, r.Err())
	}
	require.Zero(t, q.Poll(1))
}

func TestRelayAnswersAndEdits(t *testing.T) {
	refused := errors.New("refused")
	changed := errors.New("changed")
	disk := crashbdev.New(crashbdev.Options{})
	relay := bdev.NewRelay(disk, scriptedFilter{
		begin: func(r *bdev.Request) bdev.Verdict {
			switch r.Offset {
			case 512:
				return bdev.Verdict{Answered: true, Err: refused}
			case 1024:
				r.Offset = 4096
			case 2048:
				return bdev.Verdict{Tag: changed}
			}
			return bdev.Verdict{}
		},
		end: func(_ *bdev.Request, v bdev.Verdict, err error) error {
			if e, ok := v.Tag.(error); ok {
				return e
			}
			return err
		},
	})
	dev, err := bdev.New("relay", relay, bdev.Options{})
	require.NoError(t, err)
	p := bytes.Repeat([]byte{7}, 512)
	require.NoError(t, dev.Write(p, 0))
	require.ErrorIs(t, dev.Write(p, 512), refused)
	require.NoError(t, dev.Write(p, 1024))
	require.ErrorIs(t, dev.Write(p, 2048), changed)
	require.NoError(t, dev.Flush())
	require.NoError(t, dev.Resize(1<<20))
	require.NoError(t, dev.Close())

	image := disk.Snapshot()
	for off, want := range map[int64]byte{0: 7, 512: 0, 1024: 0, 4096: 7, 2048: 7} {
		var b [1]byte
		_, err := image.ReadAt(b[:], off)
		require.NoError(t, err)
		require.Equal(t, want, b[0], "offset %d", off)
	}
}

func TestRelayDelaysOverlap(t *testing.T) {
	const delay = 5 * time.Millisecond
	q := relayQueue(t, crashbdev.Options{}, scriptedFilter{begin: func(r *bdev.Request) bdev.Verdict {
		if r.Op == bdev.OpRead {
			return bdev.Verdict{}
		}
		return bdev.Verdict{Delay: delay}
	}})
	start := time.Now()
	slow := []*bdev.Request{{Op: bdev.OpFlush}, {Op: bdev.OpFlush}, {Op: bdev.OpRead, Buf: make([]byte, 512)}}
	require.Equal(t, 3, q.Submit(slow))
	for done := 0; done < 3; {
		q.Wait(time.Minute)
		if n := q.Poll(math.MaxInt); n > 0 {
			if done += n; !slow[0].Done() {
				require.True(t, slow[2].Done(), "the read has no delay to wait for")
			}
		}
	}
	require.GreaterOrEqual(t, time.Since(start), delay)
}

// TestRelayUnderLoad shares one relay among many goroutines, through the core.
func TestRelayUnderLoad(t *testing.T) {
	for _, o := range []crashbdev.Options{
		{Size: 4 << 20, QueueDepth: 3, CompletionSeed: 1},
		{Size: 4 << 20, SyncOps: bdev.Ops(bdev.OpWrite, bdev.OpFlush)},
	} {
		dev, err := bdev.New("relay", bdev.NewRelay(crashbdev.New(o), scriptedFilter{begin: pass}), bdev.Options{})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for i := range int64(16) {
			wg.Go(func() {
				p, got := bytes.Repeat([]byte{byte(i + 1)}, 4096), make([]byte, 4096)
				for n := range int64(20) {
					off := (i*32 + n) * 4096
					if dev.Write(p, off) != nil || dev.Flush() != nil || dev.Read(got, off) != nil || !bytes.Equal(p, got) {
						t.Errorf("goroutine %d, round %d", i, n)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, dev.Close())
	}
}
