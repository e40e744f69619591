package blobfs

import "github.com/blobkv/blobkv/blobstore"

// maxVoucher bounds the bytes one sync vouches for. A longer append is written and flushed before its length is
// committed, which costs a second flush and no checksum at recovery.
const maxVoucher = 256 << 10

// voucher is the running checksum of the bytes appended since the last committed length.
type voucher struct {
	start int64 // in the file: the committed length
	n     int64 // bytes
	sum   blobstore.Checksum
	valid bool // false once the bytes were too many, overwritten or not seen
}

// note follows a write of p at off to a file that was size bytes long.
func (v *voucher) note(p []byte, off, size int64) {
	end := off + int64(len(p))
	if !v.valid || end <= v.start {
		return
	}
	if off < size && v.n > 0 {
		v.valid = false // part of what was summed up has changed
		return
	}
	appended := p[max(0, size-off):]
	v.n += int64(len(appended))
	if v.n > maxVoucher {
		v.valid = false
		return
	}
	v.sum.Add(appended)
}

// covers reports whether the voucher speaks for all bytes between committed and size.
func (v *voucher) covers(committed, size int64) bool {
	return v.valid && v.start == committed && v.start+v.n == size
}

// vouch is what the store checks at recovery.
func (v *voucher) vouch() blobstore.Vouch {
	return blobstore.Vouch{Offset: v.start, Length: v.n, Sum: v.sum.Sum()}
}

// vouchSpan is a range of bytes that unconfirmed transactions up to lsn vouch for. Its bytes are not changed before the
// confirmation is durable, or recovery would void a length that was acknowledged.
type vouchSpan struct {
	lo, hi int64
	lsn    blobstore.LSN
}

func (s vouchSpan) overlaps(lo, hi int64) bool { return lo < s.hi && s.lo < hi }

// add widens the span by a newer voucher.
func (s *vouchSpan) add(v blobstore.Vouch, lsn blobstore.LSN) {
	lo, hi := v.Offset, v.Offset+v.Length
	if s.hi > s.lo {
		lo, hi = min(lo, s.lo), max(hi, s.hi)
	}
	*s = vouchSpan{lo, hi, lsn}
}
