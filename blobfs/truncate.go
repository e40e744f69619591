package blobfs

import "fmt"

// truncate changes the size. Shrinking gives clusters back in the same transaction as the length; growing writes zeros.
func (d *fileData) truncate(size int64) error {
	if size < 0 || size > maxFileSize {
		return fmt.Errorf("%w: size %d", ErrInvalid, size)
	}
	d.syncMu.Lock()
	defer d.syncMu.Unlock()
	d.wmu.Lock()
	defer d.wmu.Unlock()
	if err := d.fs.writable(); err != nil {
		return err
	}
	old := d.n.size.Load()
	if size > old {
		if err := d.grow(size); err != nil {
			return err
		}
		if err := d.zeroGap(old, size); err != nil {
			return err
		}
	} else if err := d.shrink(size); err != nil {
		return err
	}
	d.n.markWritten()
	return nil
}

// shrink cuts the file. The caller holds syncMu and wmu.
func (d *fileData) shrink(size int64) error {
	d.ahead.settle() // nothing may be on its way to a cluster that is given up
	d.settleAll()
	// The last block may soon be written with zeros where vouched bytes are.
	if err := d.confirm(size, maxFileSize); err != nil {
		return err
	}
	if err := d.commitShrink(size); err != nil {
		return err
	}
	d.cutChunks(size)
	d.lastEnd = size
	d.ahead.reset()
	return nil
}

// commitShrink makes the new size visible to readers before the clusters behind it can become another file's, and
// commits both. The committed length never grows here: bytes behind it may not be on the device yet.
func (d *fileData) commitShrink(size int64) error {
	before := d.n.size.Load()
	d.mu.Lock()
	d.n.size.Store(size)
	d.version.Add(1)
	d.mu.Unlock()
	d.shrinks.Add(1)
	tx := d.fs.store.Begin()
	tx.Resize(d.n.id, roundUp(size, d.fs.cluster)/d.fs.cluster)
	if size < d.committed {
		d.n.markWritten()
		d.n.stamp()
		tx.SetXattr(d.n.id, xattrLength, d.lengthNow(size))
	}
	lsn, err := tx.Commit()
	if err != nil {
		d.n.size.Store(before)
		return err
	}
	d.n.touch(lsn)
	if size <= d.committed {
		d.setCommitted(size)
	} else if size < before {
		d.voucher.valid = false
	}
	return nil
}

// cutChunks forgets buffered bytes behind the end of the file; those in its last block become zeros. Nothing is in
// flight. The caller holds wmu.
func (d *fileData) cutChunks(size int64) {
	for i := len(d.chunks) - 1; i >= 0; i-- {
		c := d.chunks[i]
		if c.off >= size {
			d.drop(c)
			continue
		}
		if c.end() <= size {
			break
		}
		kept := c.blocks(c.off, size, d.fs.block)
		d.mu.Lock()
		c.valid &= kept
		clear(c.buf[size-c.off:])
		d.mu.Unlock()
		c.dirty &= kept
	}
}
