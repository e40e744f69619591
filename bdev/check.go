package bdev

import (
	"fmt"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// check refuses what no device may be asked.
func (d *Device) check(r *Request) error {
	switch {
	case r.Op >= numOps:
		return fmt.Errorf("operation %d: %w", r.Op, ErrInvalid)
	case d.props.ReadOnly && r.Op.writes():
		return ErrReadOnly
	case r.Op == OpAbort && r.Target == nil:
		return fmt.Errorf("no target: %w", ErrInvalid)
	case !r.Op.ranged():
		return nil
	}
	if err := d.checkRange(r.Offset, r.size()); err != nil {
		return err
	}
	switch r.Op {
	case OpCompareAndWrite:
		if len(r.Expect) != len(r.Buf) {
			return fmt.Errorf("%d bytes expected, %d to write: %w", len(r.Expect), len(r.Buf), ErrInvalid)
		}
	case OpCopy:
		return d.checkCopy(r)
	}
	return nil
}

// checkRange wants block-aligned ranges within the device.
func (d *Device) checkRange(off, n int64) error {
	if mask := int64(d.props.BlockSize - 1); (off|n)&mask != 0 {
		return fmt.Errorf("block size %d: %w", d.props.BlockSize, ErrUnaligned)
	}
	if size := d.Size(); off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("device has %d bytes: %w", size, ErrOutOfRange)
	}
	return nil
}

func (d *Device) checkCopy(r *Request) error {
	if err := d.checkRange(r.Source, r.Length); err != nil {
		return fmt.Errorf("source offset %d: %w", r.Source, err)
	}
	if r.Source < r.Offset+r.Length && r.Offset < r.Source+r.Length {
		return fmt.Errorf("source offset %d: ranges overlap: %w", r.Source, ErrInvalid)
	}
	return nil
}

// isQueued tells whether the request goes through a queue; the others are executed on a goroutine.
func (d *Device) isQueued(r *Request) bool {
	return d.queueOps.Has(r.Op) && (!r.FUA || r.Op != OpWrite || d.fua)
}

// fits tells whether the backend takes the request as it is.
func (d *Device) fits(r *Request) bool {
	return !r.Op.hasBuffer() || d.piece(r.Offset, len(r.Buf)) == len(r.Buf) && d.reaches(r.Buf)
}

// reaches tells whether the backend takes a buffer where it is.
func (d *Device) reaches(b []byte) bool {
	return dmabuf.IsAligned(b, d.props.BufferAlign) && (d.props.Reaches == nil || d.props.Reaches(b))
}

// piece is how much of a range the backend takes in one request.
func (d *Device) piece(off int64, n int) int {
	n = min(n, d.props.MaxTransfer)
	if b := int64(d.props.OptimalBoundary); b != 0 {
		n = int(min(int64(n), b-off%b))
	}
	return n
}
