package bdev

import (
	"sync"
	"sync/atomic"
	"time"
)

// WorkerQueue is the queue of a backend whose operations block: exec runs on up to workers goroutines, which exist
// only while there is work. It takes depth requests at a time.
func WorkerQueue(exec func(*Request) error, workers, depth int) Queue {
	return &workerQueue{exec: exec, limit: workers, depth: depth, ready: make(chan struct{}, 1)}
}

type workerQueue struct {
	exec  func(*Request) error
	limit int
	depth int
	ready chan struct{} // a token when done may hold something
	timer *time.Timer   // of Wait

	nDone atomic.Int64 // requests in mu.done
	mu    struct {
		sync.Mutex
		todo, done  requestList
		outstanding int // submitted and not polled
		running     int
	}
}

func (q *workerQueue) Submit(rs []*Request) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(rs), q.depth-q.mu.outstanding)
	for _, r := range rs[:n] {
		q.mu.todo.push(r)
		if q.mu.running < q.limit {
			q.mu.running++
			go q.run()
		}
	}
	q.mu.outstanding += n
	return n
}

// run is one worker.
func (q *workerQueue) run() {
	for r := q.next(); r != nil; r = q.next() {
		r.err = q.exec(r)
		q.mu.Lock()
		q.mu.done.push(r)
		q.mu.Unlock()
		q.nDone.Add(1)
		select {
		case q.ready <- struct{}{}:
		default:
		}
	}
}

func (q *workerQueue) next() *Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.mu.todo.pop()
	if r == nil {
		q.mu.running--
	}
	return r
}

func (q *workerQueue) Poll(max int) int {
	if q.nDone.Load() == 0 {
		return 0
	}
	n := 0
	for ; n < max; n++ {
		r := q.popDone()
		if r == nil {
			break
		}
		r.Complete(r.err)
	}
	q.nDone.Add(int64(-n))
	return n
}

func (q *workerQueue) popDone() *Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.mu.done.pop()
	if r != nil {
		q.mu.outstanding--
	}
	return r
}

func (q *workerQueue) Wait(timeout time.Duration) {
	if q.nDone.Load() > 0 {
		return
	}
	if q.timer == nil {
		q.timer = time.NewTimer(timeout)
	} else {
		q.timer.Reset(timeout)
	}
	select {
	case <-q.ready:
	case <-q.timer.C:
	}
	q.timer.Stop()
}

// Close waits for nothing: no request is outstanding, and workers without work end by themselves.
func (q *workerQueue) Close() error { return nil }
