package blobstore

import (
	"errors"

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
func waitRetry(dev *bdev.Device, r *bdev.Request) error {
	err := dev.Wait(r)
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
	err := dev.Do(r)
	for try := 1; err != nil && try < maxTries && retryable(err); try++ {
		err = dev.Do(r)
	}
	return hostSpace(err)
}

// hostSpace turns the device's lack of space (the host of a sparse image) into the store's.
func hostSpace(err error) error {
	if err != nil && errors.Is(err, bdev.ErrNoSpace) && !errors.Is(err, ErrNoSpace) {
		return errors.Join(ErrNoSpace, err)
	}
	return err
}

// batchDepth bounds the requests that a batch has under way.
const batchDepth = 64

// ioBatch is a set of transfers under way. The zero value is ready.
type ioBatch struct {
	requests []*bdev.Request
	err      error // first error of requests that were waited for early
}

// start submits one transfer; the buffer belongs to the device until wait.
func (b *ioBatch) start(dev *bdev.Device, op bdev.Op, buf []byte, off int64) {
	if len(b.requests) == batchDepth {
		b.reap(dev, b.requests[0])
		b.requests = b.requests[:copy(b.requests, b.requests[1:])]
	}
	r := bdev.GetRequest()
	r.Op, r.Buf, r.Offset = op, buf, off
	dev.Submit(r)
	b.requests = append(b.requests, r)
}

// wait returns when all transfers are finished, with the first error.
func (b *ioBatch) wait(dev *bdev.Device) error {
	for _, r := range b.requests {
		b.reap(dev, r)
	}
	b.requests = b.requests[:0]
	return b.err
}

func (b *ioBatch) reap(dev *bdev.Device, r *bdev.Request) {
	if err := waitRetry(dev, r); err != nil && b.err == nil {
		b.err = err
	}
	bdev.PutRequest(r)
}
