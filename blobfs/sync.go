package blobfs

import (
	"errors"

	"github.com/blobkv/blobkv/blobstore"
)

// sync makes the file's bytes, exact length and names durable. One of three ways:
//
//   - the length is committed: the dirty blocks and a flush, no journal append;
//   - little was appended: data and a length that vouches for it go out at once, under one flush;
//   - much was appended, or much by all files together that no flush has confirmed: the data and a flush, then the length and a flush.
//
// A nil error means that all of it is durable. After an error the blocks that could not be written are still in memory
// and dirty, and the next sync tries them again.
func (d *fileData) sync() error {
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	d.wmu.Lock()
	if err := d.fs.writable(); err != nil {
		d.wmu.Unlock()
		return err
	}
	d.n.stamp()
	size := d.n.size.Load()
	appended := size - d.committed
	target := d.takeOff()
	var err error
	switch {
	case size == d.committed:
		err = d.syncInPlace(target)
	case d.voucher.covers(d.committed, size):
		err = d.syncVouched(size)
	default:
		err = d.syncLength(size)
	}
	d.land(target, err)
	if err == nil {
		d.logAhead(appended)
	}
	d.wmu.Unlock()
	return err
}

// takeOff starts the writes of all dirty blocks and collects everything in flight in d.aloft and d.ios. It returns what
// d.started is then: the sync covers that much. The caller holds syncMu and wmu.
func (d *fileData) takeOff() uint64 {
	d.startAll()
	for _, f := range d.flights {
		f.refs.Add(1)
		d.aloft = append(d.aloft, f)
		d.ios = append(d.ios, &f.io)
	}
	return d.started
}

// land ends what takeOff began. The caller holds syncMu and wmu.
func (d *fileData) land(target uint64, err error) {
	d.settleDone()
	for _, f := range d.aloft {
		f.unref()
	}
	clear(d.aloft)
	clear(d.ios)
	d.aloft, d.ios = d.aloft[:0], d.ios[:0]
	if err == nil {
		d.flushed = max(d.flushed, target)
	}
}

// syncInPlace is the sync of a file whose length is committed. The caller holds syncMu and wmu, which it gives up
// meanwhile.
func (d *fileData) syncInPlace(target uint64) error {
	lsn := d.n.lastLSN()
	clean := d.flushed >= target
	d.wmu.Unlock()
	defer d.wmu.Lock()
	switch pending := lsn > d.fs.store.DurableLSN(); {
	case !clean && pending:
		return d.fs.store.SyncVouched(lsn, d.ios...) // both under one flush; there is no voucher to go with it
	case !clean:
		return d.fs.store.SyncData(d.ios...)
	}
	return d.fs.store.Sync(lsn)
}

// syncVouched commits the length with a voucher for the bytes behind the old one. The caller holds syncMu and wmu,
// which it gives up meanwhile.
func (d *fileData) syncVouched(size int64) error {
	previous := d.committed
	vouch := d.voucher.vouch()
	tx := d.fs.store.Begin()
	tx.SetXattrVouched(d.n.id, xattrLength, d.lengthNow(size), vouch)
	lsn, err := tx.Commit()
	if errors.Is(err, blobstore.ErrTooMuchVouched) {
		return d.syncLength(size)
	}
	if err != nil {
		return err
	}
	d.n.touch(lsn)
	d.setCommitted(size)
	d.n.vouched.add(vouch, lsn)
	d.wmu.Unlock()
	err = d.fs.store.SyncVouched(lsn, d.ios...)
	d.wmu.Lock()
	if err != nil {
		d.setUncommitted(previous) // the store has set the length back
	}
	return err
}

// syncLength makes the data durable and then commits the length. The caller holds syncMu and wmu, which it gives up
// meanwhile; only a truncation could make size wrong, and that takes syncMu.
func (d *fileData) syncLength(size int64) error {
	d.wmu.Unlock()
	err := d.fs.store.SyncData(d.ios...)
	d.wmu.Lock()
	if err != nil {
		return err
	}
	tx := d.fs.store.Begin()
	tx.SetXattr(d.n.id, xattrLength, d.lengthNow(size))
	lsn, err := tx.Commit()
	if err != nil {
		return err
	}
	d.n.touch(lsn)
	d.setCommitted(size)
	d.wmu.Unlock()
	defer d.wmu.Lock()
	return d.fs.store.Sync(lsn)
}

// lengthNow is the value of the length attribute.
func (d *fileData) lengthNow(size int64) []byte {
	return lengthValue{length: size, changed: d.n.changed.Load()}.marshal()
}

// setCommitted notes the length in the newest transaction. What was appended since is unknown to the voucher, unless
// nothing was. The caller holds wmu.
func (d *fileData) setCommitted(size int64) {
	d.committed = size
	d.voucher = voucher{start: size, valid: size == d.n.size.Load()}
}

// setUncommitted notes that the length in the store is an older one, and that there is no checksum of the bytes since.
// The caller holds wmu.
func (d *fileData) setUncommitted(size int64) {
	d.committed = size
	d.voucher = voucher{start: size}
}

// syncTo starts the writes of the file's complete dirty blocks below end and waits for nothing.
func (d *fileData) syncTo(end int64) error {
	d.wmu.Lock()
	defer d.wmu.Unlock()
	if err := d.fs.writable(); err != nil {
		return err
	}
	d.settleDone()
	end = roundDown(min(end, d.n.size.Load()), d.fs.block)
	for _, c := range d.chunks {
		if hi := min(end, c.end()); hi > c.off {
			d.startWrites(c, c.blocks(c.off, hi, d.fs.block), false)
		}
	}
	return nil
}
