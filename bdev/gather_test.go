package bdev_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

// scripted is a backend whose queue completes nothing but what the test releases.
type scripted struct {
	*fake
	q scriptedQueue
}

func (b *scripted) NewQueue() (bdev.Queue, error) { return &b.q, nil }

// scriptedQueue completes, at each poll, all requests that allowed admits.
type scriptedQueue struct {
	mu      sync.Mutex
	allowed func(r *bdev.Request, submitted int) bool
	in      []*bdev.Request
	batches []int // lengths of the submissions
	polls   int   // that completed something
	total   int   // requests submitted
}

func (q *scriptedQueue) Submit(rs []*bdev.Request) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.in = append(q.in, rs...)
	q.batches = append(q.batches, len(rs))
	q.total += len(rs)
	return len(rs)
}

func (q *scriptedQueue) Poll(int) int {
	q.mu.Lock()
	var done []*bdev.Request
	q.in = slices.DeleteFunc(q.in, func(r *bdev.Request) bool {
		ok := q.allowed(r, q.total)
		if ok {
			done = append(done, r)
		}
		return ok
	})
	if len(done) > 0 {
		q.polls++
	}
	q.mu.Unlock()
	for _, r := range done {
		r.Complete(nil)
	}
	return len(done)
}

func (q *scriptedQueue) Wait(d time.Duration) { time.Sleep(min(d, 10*time.Microsecond)) }
func (q *scriptedQueue) Close() error         { return nil }

// gatherRound has a leader, whose request is the last to be done, and seven others that do two requests each. It
// returns how the second ones were submitted, and whether each of the seven went on before the leader polled again.
func gatherRound(t *testing.T, op bdev.Op) (batches []int, atOnce bool) {
	const others = 7
	b := &scripted{fake: newFake()}
	b.q.allowed = func(r *bdev.Request, submitted int) bool {
		return submitted == 1+2*others || submitted == 1+others && r.Tag != 0
	}
	d, err := bdev.New("scripted:", b, bdev.Options{Channels: 1, Policy: bdev.PolicyPoll})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	atOnce = true
	var wg sync.WaitGroup
	read := func(tag uint64) {
		r := bdev.GetRequest()
		r.Op, r.Buf, r.Tag = op, make([]byte, 512), tag
		if err := d.Do(r); err != nil {
			t.Error(err)
		}
		bdev.PutRequest(r)
	}
	wg.Go(func() { read(0) })
	for runtime.Gosched(); ; runtime.Gosched() {
		b.q.mu.Lock()
		leads := b.q.total == 1
		b.q.mu.Unlock()
		if leads {
			break
		}
	}
	for range others {
		wg.Go(func() {
			read(1)
			b.q.mu.Lock()
			atOnce = atOnce && b.q.polls == 1
			b.q.mu.Unlock()
			read(2)
		})
	}
	wg.Wait()
	return b.q.batches[1+others:], atOnce
}

// TestGathersReads: what the goroutines submit whose requests a leader has completed together goes out together too,
// the first at once. On one processor that is deterministic, except that the scheduler prefers the leader once in 61.
func TestGathersReads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 100 {
		batches, atOnce := gatherRound(t, bdev.OpRead)
		if atOnce && slices.Equal(batches, []int{1, 2, 4}) {
			return
		}
	}
	t.Error("seven reads never went out as 1, 2 and 4")
}

// TestWritesAreNotGathered: a write may block its submitter, and nobody else.
func TestWritesAreNotGathered(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for range 10 {
		batches, _ := gatherRound(t, bdev.OpWrite)
		require.Equal(t, []int{1, 1, 1, 1, 1, 1, 1}, batches)
	}
}

// TestGatherMeetsFullQueue has batches that the queue takes only in part, under every policy: no read is lost, none
// gets the content of another.
func TestGatherMeetsFullQueue(t *testing.T) {
	const readers, each = 40, 300
	gathered := int64(0)
	for _, procs := range []int{1, 2} {
		for _, policy := range []bdev.Policy{bdev.PolicyAdaptive, bdev.PolicyPoll, bdev.PolicySleep} {
			t.Run(fmt.Sprintf("%s/%d", policy, procs), func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				f := newFake()
				f.props.QueueDepth = 5
				for i := range f.mem {
					f.mem[i] = byte(i / 512)
				}
				d := f.open(t, bdev.Options{Channels: 1, Policy: policy})
				var wg sync.WaitGroup
				for i := range readers {
					wg.Go(func() {
						p := make([]byte, 512)
						for n := range each {
							block := (i*each + n) % (fakeSize / 512)
							if err := d.Read(p, int64(block)*512); err != nil {
								t.Error(err)
							}
							if !bytes.Equal(p, bytes.Repeat([]byte{byte(block)}, 512)) {
								t.Errorf("reader %d, read %d: content of block %d, want %d", i, n, p[0], byte(block))
							}
						}
					})
				}
				wg.Wait()
				gathered += f.gathered.Load()
			})
		}
	}
	require.Positive(t, gathered, "no batch was submitted")
}
