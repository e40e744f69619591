package blobstore

import "fmt"

// maxToVerify bounds the bytes that a recovery has to read to verify vouchers: some 20 ms of a device that reads 1.5 GB/s.
const maxToVerify = 32 << 20

// vouchedBytes counts what recovery would verify if the power went now: the bytes of vouchers whose confirmation is not
// durable. Guarded by Store.mu.
type vouchedBytes struct {
	limit int64
	sum   int64
	list  []vouchedLength // in LSN order
}

type vouchedLength struct {
	lsn LSN
	n   int64
}

// admit refuses a voucher of n bytes that would be too much. A voucher commits in the same hold of mu.
func (v *vouchedBytes) admit(n int64) error {
	if v.sum+n > v.limit {
		return fmt.Errorf("%w: %d and %d more, at most %d", ErrTooMuchVouched, v.sum, n, v.limit)
	}
	return nil
}

func (v *vouchedBytes) add(lsn LSN, n int64) {
	v.list = append(v.list, vouchedLength{lsn, n})
	v.sum += n
}

// drop forgets vouchers up to lsn.
func (v *vouchedBytes) drop(lsn LSN) {
	k := 0
	for ; k < len(v.list) && v.list[k].lsn <= lsn; k++ {
		v.sum -= v.list[k].n
	}
	v.list = append(v.list[:0], v.list[k:]...)
}
