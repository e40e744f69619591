package bdev

import (
	"fmt"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// execute carries out, on the calling goroutine, a request that does not go through a queue.
func (d *Device) execute(r *Request) error {
	switch r.Op {
	case OpFlush:
		return d.flushShared()
	case OpCompareAndWrite:
		return d.compareAndWrite(r)
	case OpReset:
		return d.reset(r)
	}
	if r.Op == OpWrite && r.FUA && !d.fua {
		return d.writeThrough(r)
	}
	if d.props.Native.Has(r.Op) {
		return d.executeSync(r)
	}
	return d.emulate(r)
}

// executeSync hands a request to Backend.Execute, in pieces if need be.
func (d *Device) executeSync(r *Request) error {
	if d.fits(r) {
		return d.b.Execute(r)
	}
	s := newSplitter(d, r)
	for p := s.next(); p != nil; p = s.next() {
		if err := d.executePiece(p, s.bounced); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) executePiece(p *Request, bounced bool) error {
	defer PutRequest(p)
	var err error
	if bounced {
		err = p.bounce(deviceMemory(len(p.Buf)), dmabuf.Default)
	}
	if err == nil {
		err = d.b.Execute(p)
	}
	return p.wrap(p.unbounce(err))
}

// raw carries out one native operation of the core's own on the calling goroutine.
func (d *Device) raw(op Op, off int64, buf []byte) error {
	r := GetRequest()
	defer PutRequest(r)
	r.Op, r.Offset, r.Buf = op, off, buf
	r.dev, r.internal = d, true
	r.state.Store(stateInFlight)
	if d.queueOps.Has(op) {
		r.ch = d.home(r)
		r.ch.send(r)
		r.ch.wait(r)
		return r.err
	}
	return r.wrap(d.executeSync(r))
}

// home is the shared channel of a request that is waited for.
func (d *Device) home(r *Request) *shared { return d.attended[int(r.home)%len(d.attended)] }

// writeThrough is a FUA write on a device that has none: write, then flush.
func (d *Device) writeThrough(r *Request) error {
	if err := d.raw(OpWrite, r.Offset, r.Buf); err != nil {
		return err
	}
	return d.flushShared()
}

// reset waits until nothing but resets is in flight on the shared channels, while new requests are held back.
func (d *Device) reset(r *Request) error {
	d.resets.Add(1)
	defer d.resets.Add(-1)
	d.gate.hold()
	defer d.gate.release()
	d.drain(d.resets.Load)
	if d.props.Native.Has(OpReset) {
		return d.b.Execute(r)
	}
	return nil
}

// abort can only say that the target is finished: what a backend has begun, the core cannot take back.
func abort(r *Request) error {
	if r.Target.Done() {
		return nil
	}
	return fmt.Errorf("the request is under way: %w", ErrUnsupported)
}
