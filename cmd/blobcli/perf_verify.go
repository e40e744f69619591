package main

import (
	"fmt"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// check compares a finished read with the pattern, and remembers a finished write for the pass that reads it back.
func (w *perfWorker) check(s *perfSlot) error {
	if !w.run.verify {
		return nil
	}
	if s.req.Op == bdev.OpWrite {
		w.run.touched[s.block/64].Or(1 << (s.block % 64))
		return nil
	}
	w.verified++
	return w.run.pattern.check(s.req.Buf, s.req.Offset)
}

// readBack verifies every block that a verifying run has written.
func (run *perfRun) readBack() (uint64, error) {
	var n uint64
	buf := dmabuf.Default.Get(run.blockSize)
	defer dmabuf.Default.Put(buf)
	for b := int64(0); b < run.blocks(); b++ {
		if run.stop.Err() != nil {
			return n, run.stop.Err()
		}
		if run.touched[b/64].Load()>>(b%64)&1 == 0 {
			continue
		}
		off := b * int64(run.blockSize)
		if err := run.dev.Read(buf, off); err != nil {
			return n, err
		}
		if err := run.pattern.check(buf, off); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// prefill writes the pattern over the whole span, so that reads meet data and not holes.
func (run *perfRun) prefill(progress func(done, total int64)) error {
	const chunk = 1 << 20
	buf := dmabuf.Default.Get(chunk)
	defer dmabuf.Default.Put(buf)
	span := run.blocks() * int64(run.blockSize)
	for off := int64(0); off < span; off += chunk {
		if err := run.stop.Err(); err != nil {
			return err
		}
		part := buf[:min(chunk, span-off)]
		run.pattern.fill(part, off)
		if err := run.dev.Write(part, off); err != nil {
			return fmt.Errorf("filling before the run: %w", err)
		}
		progress(off+int64(len(part)), span)
	}
	return run.dev.Flush()
}
