package blobstore

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/bdev"
)

// maxTries is how often a read or write is tried before its error is reported. Flushes are never repeated: the device
// may have dropped what it held.
const maxTries = 3

// retryable reports whether trying again can help.
func retryable(err error) bool {
	for _, final := range []error{
		bdev.ErrNoSpace, bdev.ErrClosed, bdev.ErrReadOnly, bdev.ErrOutOfRange, bdev.ErrUnaligned, bdev.ErrUnsupported,
	} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// waitRetry waits for a request and repeats it within maxTries. A request that needs it is rare, so the repetitions
// are carried out one after the other.
func waitRetry(dev *bdev.Device, r *bdev.Request) error { return retry(dev, r, dev.Wait(r)) }

// requestRetry carries a request out and repeats it within maxTries.
func requestRetry(dev *bdev.Device, r *bdev.Request) error { return retry(dev, r, dev.Do(r)) }

// retry repeats a request that has failed with err, within maxTries.
func retry(dev *bdev.Device, r *bdev.Request, err error) error {
	for try := 1; err != nil && try < maxTries && retryable(err); try++ {
		err = dev.Do(r)
	}
	return hostSpace(err)
}

// doRetry carries one operation out with repetitions.
func doRetry(dev *bdev.Device, op bdev.Op, buf []byte, off, length int64) error {
	r := bdev.GetRequest()
	defer bdev.PutRequest(r)
	r.Op, r.Buf, r.Offset, r.Length = op, buf, off, length
	return requestRetry(dev, r)
}

// readRetry reads metadata with repetitions, from a device or what stands for one.
func readRetry(dev mdDevice, b []byte, off int64) error {
	err := dev.Read(b, off)
	for try := 1; err != nil && try < maxTries && retryable(err); try++ {
		err = dev.Read(b, off)
	}
	return err
}

// hostSpace turns the device's lack of space (the host of a sparse image) into the store's.
func hostSpace(err error) error {
	if err != nil && errors.Is(err, bdev.ErrNoSpace) && !errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// batchDepth bounds the requests that a batch has under way.
const batchDepth = 64

// ioBatch is a set of transfers under way. The zero value is ready. The newest one is kept back until the next one
// comes or wait carries it out: most batches are one transfer, which then is an operation of the waiter like any other.
type ioBatch struct {
	newest   *bdev.Request
	requests []*bdev.Request // submitted
	err      error           // first error of requests that were waited for early
}

// start adds one transfer; the buffer belongs to the device until wait.
func (b *ioBatch) start(dev *bdev.Device, op bdev.Op, buf []byte, off int64) {
	if b.newest != nil {
		b.submit(dev, b.newest)
	}
	b.newest = bdev.GetRequest()
	b.newest.Op, b.newest.Buf, b.newest.Offset = op, buf, off
}

func (b *ioBatch) submit(dev *bdev.Device, r *bdev.Request) {
	if len(b.requests) == batchDepth {
		b.reap(b.requests[0], waitRetry(dev, b.requests[0]))
		b.requests = b.requests[:copy(b.requests, b.requests[1:])]
	}
	dev.Submit(r)
	b.requests = append(b.requests, r)
}

// wait returns when all transfers are finished, with the first error.
func (b *ioBatch) wait(dev *bdev.Device) error {
	if r := b.newest; r != nil {
		b.newest = nil
		b.reap(r, requestRetry(dev, r))
	}
	for _, r := range b.requests {
		b.reap(r, waitRetry(dev, r))
	}
	b.requests = b.requests[:0]
	return b.err
}

// reap takes the result of a request and gives it back.
func (b *ioBatch) reap(r *bdev.Request, err error) {
	if err != nil && b.err == nil {
		b.err = err
	}
	bdev.PutRequest(r)
}
