package bdev

import (
	"time"

	"github.com/blobkv/blobkv/internal/memfault"
)

// InlineQueue is the queue of a backend that carries out a request at once on the submitting goroutine: memory, test
// modules. exec may be called by any number of goroutines at a time and must not block. Before it is, next is told of the request that
// comes after this one, if any, so that its memory can be asked for; nil for a backend that has no use for that.
func InlineQueue(exec func(*Request) error, next func(*Request)) Queue {
	return inlineQueue{exec, next}
}

type inlineQueue struct {
	exec func(*Request) error
	next func(*Request)
}

func (q inlineQueue) Submit(rs []*Request) int {
	for i, r := range rs {
		if q.next != nil && i+1 < len(rs) {
			q.next(rs[i+1])
		}
		r.Complete(q.run(r))
	}
	return len(rs)
}

// run makes an error of a buffer that is not there, as the kernel does with EFAULT.
func (q inlineQueue) run(r *Request) (err error) {
	defer memfault.Recover(&err)
	return q.exec(r)
}

func (inlineQueue) Poll(int) int       { return 0 }
func (inlineQueue) Wait(time.Duration) {}
func (inlineQueue) Close() error       { return nil }
