package bdev

import "sync"

// maxWorkers bounds the goroutines that carry out requests which block and were submitted without waiting.
const maxWorkers = 16

// workers is a pool of goroutines that exist only while there is work.
type workers struct {
	mu      sync.Mutex // guards the rest
	queue   requestList
	running int
}

// submit has the request executed and completed. Resets wait for all others, so they do not take the place of one.
func (w *workers) submit(d *Device, r *Request) {
	if r.Op == OpReset {
		go d.executeLate(r)
		return
	}
	w.mu.Lock()
	w.queue.push(r)
	start := w.running < maxWorkers
	if start {
		w.running++
	}
	w.mu.Unlock()
	if start {
		go w.run(d)
	}
}

func (w *workers) run(d *Device) {
	for r := w.next(); r != nil; r = w.next() {
		d.executeLate(r)
	}
}

// next takes a request from the queue; without one the worker has left the pool.
func (w *workers) next() *Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.queue.pop()
	if r == nil {
		w.running--
	}
	return r
}

// executeLate carries out a request on a worker.
func (d *Device) executeLate(r *Request) {
	err := d.execute(r)
	if r.own != nil {
		r.own.finishedLate(r, err)
		return
	}
	d.completed(r, err)
}
