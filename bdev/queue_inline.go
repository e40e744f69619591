package bdev

import "time"

// InlineQueue is the queue of a backend that carries out a request at once on the submitting goroutine: memory, test
// modules. exec may be called by any number of goroutines at a time and must not block.
func InlineQueue(exec func(*Request) error) Queue { return inlineQueue{exec} }

type inlineQueue struct {
	exec func(*Request) error
}

func (q inlineQueue) Submit(rs []*Request) int {
	for _, r := range rs {
		r.Complete(q.exec(r))
	}
	return len(rs)
}

func (inlineQueue) Poll(int) int       { return 0 }
func (inlineQueue) Wait(time.Duration) {}
func (inlineQueue) Close() error       { return nil }
