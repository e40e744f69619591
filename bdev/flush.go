package bdev

import "sync"

// flusher lets concurrent flushes share: a caller is served by any flush of the device that started after its call.
type flusher struct {
	mu      sync.Mutex // guards the rest, and the parking of requests in pending
	running bool
	pending requestList // callers that need a flush which has not started

	failures uint64 // flushes that failed
	failure  error  // of the newest of them
}

// FlushFailures is how many flushes of the device have failed, and the error of the newest. A failed flush may have
// dropped writes of others than its callers, and the flush after it, which finds nothing left to do, succeeds: who
// relies on a flush compares the count after it with the one before its first write.
func (d *Device) FlushFailures() (uint64, error) {
	f := &d.flush
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failures, f.failure
}

// flushShared makes what is written so far durable. Every caller is a request on the list; one of them at a time runs
// the device's flush for all that are on the list when it starts, then rouses the next to run.
func (d *Device) flushShared() error {
	if !d.flushes {
		return nil
	}
	r := GetRequest()
	defer PutRequest(r)
	r.Op, r.dev = OpFlush, d
	r.state.Store(stateInFlight)
	f := &d.flush
	f.mu.Lock()
	f.pending.push(r)
	for !r.Done() {
		if !f.running {
			d.runFlush()
			continue
		}
		parked := r.tryPark()
		f.mu.Unlock()
		if parked {
			<-r.waiter
		}
		f.mu.Lock()
	}
	f.mu.Unlock()
	return r.err
}

// runFlush flushes for all that are pending. It is called, and returns, with flush.mu held.
func (d *Device) runFlush() {
	f := &d.flush
	f.running = true
	served := f.pending.take()
	f.mu.Unlock()
	err := d.nativeFlush()
	if err != nil { // before anybody can learn of it, and before the next flush starts
		f.mu.Lock()
		f.failures++
		f.failure = err
		f.mu.Unlock()
	}
	for served != nil {
		r := served
		served, r.next = r.next, nil
		r.finish(err)
	}
	f.mu.Lock()
	f.running = false
	if next := f.pending.head; next != nil {
		next.rouse()
	}
}

// nativeFlush is one flush of the backend.
func (d *Device) nativeFlush() error {
	r := GetRequest()
	defer PutRequest(r)
	r.Op, r.dev, r.internal = OpFlush, d, true
	r.state.Store(stateInFlight)
	switch {
	case !d.props.Native.Has(OpFlush):
		return ErrUnsupported
	case d.props.Sync.Has(OpFlush):
		return r.wrap(d.b.Execute(r))
	}
	r.ch = d.home(r)
	r.ch.send(r)
	r.ch.wait(r)
	return r.err
}
