package bdev

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// zeros is what emulated zeroing writes, aligned for every device. Nobody writes to it.
var zeros = sync.OnceValue(func() []byte {
	return dmabuf.Aligned(make([]byte, maxPiece+dmabuf.MinClass), dmabuf.MinClass)[:maxPiece:maxPiece]
})

// emulate carries out what the backend does not.
func (d *Device) emulate(r *Request) error {
	switch r.Op {
	case OpUnmap, OpAllocate:
		return nil
	case OpWriteZeroes:
		return d.writeZeroes(r.Offset, r.Length)
	case OpCompare:
		return d.compare(r.Offset, r.Buf)
	case OpCopy:
		return d.copyRange(r)
	case OpAbort:
		return abort(r)
	}
	return ErrUnsupported
}

func (d *Device) writeZeroes(off, n int64) error {
	for n > 0 {
		part := zeros()[:min(n, maxPiece)]
		if err := d.raw(OpWrite, off, part); err != nil {
			return err
		}
		off += int64(len(part))
		n -= int64(len(part))
	}
	return nil
}

// compare reads the range and looks for a difference.
func (d *Device) compare(off int64, want []byte) error {
	buf := deviceMemory(min(max(len(want), 1), maxPiece))
	defer dmabuf.Default.Put(buf)
	for len(want) > 0 {
		part := buf[:min(len(want), len(buf))]
		if err := d.raw(OpRead, off, part); err != nil {
			return err
		}
		if !bytes.Equal(part, want[:len(part)]) {
			return fmt.Errorf("first difference at offset %d: %w", off+difference(part, want), ErrMiscompare)
		}
		off += int64(len(part))
		want = want[len(part):]
	}
	return nil
}

// difference is the index of the first byte that differs.
func difference(a, b []byte) int64 {
	for i := range a {
		if a[i] != b[i] {
			return int64(i)
		}
	}
	return int64(len(a))
}

// compareAndWrite is atomic towards other compare-and-writes. A plain write of the same blocks at the same time lands
// before the compare, between compare and write (and is overwritten), or after both.
func (d *Device) compareAndWrite(r *Request) error {
	d.ranges.lock(r.Offset, int64(len(r.Buf)))
	defer d.ranges.unlock(r.Offset)
	if n := len(r.Buf); n <= d.props.MaxCompareWrite && d.piece(r.Offset, n) == n {
		return d.nativeCompareAndWrite(r)
	}
	if err := d.compare(r.Offset, r.Expect); err != nil {
		return err
	}
	if err := d.raw(OpWrite, r.Offset, r.Buf); err != nil {
		return err
	}
	if r.FUA {
		return d.flushShared()
	}
	return nil
}

// nativeCompareAndWrite hands a compare-and-write to the backend, both buffers in device memory. The lock on the range
// remains: the device promises nothing towards compare-and-writes that are emulated.
func (d *Device) nativeCompareAndWrite(r *Request) error {
	n := len(r.Buf)
	both := deviceMemory(2 * n)
	defer dmabuf.Default.Put(both)
	copy(both, r.Buf)
	copy(both[n:], r.Expect)
	w := GetRequest()
	defer PutRequest(w)
	w.Op, w.Offset, w.FUA, w.Buf, w.Expect = r.Op, r.Offset, r.FUA, both[:n], both[n:2*n]
	w.dev, w.internal = d, true
	w.state.Store(stateInFlight)
	w.ch = d.home(w)
	w.ch.sendWhole(w)
	w.ch.wait(w)
	return w.err
}

func (d *Device) copyRange(r *Request) error {
	buf := deviceMemory(int(min(r.Length, maxPiece)))
	defer dmabuf.Default.Put(buf)
	for done := int64(0); done < r.Length; {
		part := buf[:min(r.Length-done, int64(len(buf)))]
		if err := d.raw(OpRead, r.Source+done, part); err != nil {
			return err
		}
		if err := d.raw(OpWrite, r.Offset+done, part); err != nil {
			return err
		}
		done += int64(len(part))
	}
	return nil
}
