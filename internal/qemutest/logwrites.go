package qemutest

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
)

// The log of writes that QEMU's blklogwrites filter keeps has the format of Linux's dm-log-writes
// (Documentation/admin-guide/device-mapper/log-writes.rst, struct log_write_super and log_write_entry). All is
// little-endian. The first sector:
//
//	OFFSET SIZE FIELD
//	     0    8 magic
//	     8    8 version, 1
//	    16    8 number of entries, as of the last flush or a while ago
//	    24    4 bytes of a sector
//
// Then one entry after the other, each in a sector of its own and followed by its data, in whole sectors:
//
//	 0    8 first sector of the device
//	 8    8 sectors
//	16    8 flags
//	24    8 bytes of data in the log where that is not the sectors' (a mark)
const (
	logMagic   = 0x6a736677736872
	logVersion = 1
	logHeader  = 28
	logEntry   = 32

	logFlush   = 1 << 0
	logFUA     = 1 << 1
	logDiscard = 1 << 2
	logMark    = 1 << 3
	logFlags   = 1<<5 - 1 // with metadata, which says nothing here

	minLogSector = 512
	maxLogSector = 64 << 10
	maxLogWrite  = 1 << 30 // bytes
)

// LogWrites is a log of writes: what was sent to a device and in which order.
type LogWrites struct {
	Entries []LogEntry
	sector  int // bytes
	log     io.ReaderAt
}

// LogEntry is one operation. Offsets and lengths are in bytes.
type LogEntry struct {
	Offset, Length int64 // on the device
	Flush          bool  // everything before is durable
	FUA            bool  // this write is
	Discard        bool  // reads as zeros; no data
	data           int64 // where the log has it
}

// ReadLog reads a log of a size in bytes. The log of a QEMU that was killed ends where its entries do: the count in its
// head may be behind.
func ReadLog(log io.ReaderAt, size int64) (*LogWrites, error) {
	head := make([]byte, logHeader)
	if _, err := log.ReadAt(head, 0); err != nil {
		return nil, fmt.Errorf("head of the log: %w: %w", ErrLog, err)
	}
	magic, version, sector := binary.LittleEndian.Uint64(head), binary.LittleEndian.Uint64(head[8:]), binary.LittleEndian.Uint32(head[24:])
	if magic != logMagic || version != logVersion || sector < minLogSector || sector > maxLogSector || sector&(sector-1) != 0 {
		return nil, fmt.Errorf("magic %#x, version %d, sectors of %d bytes: %w", magic, version, sector, ErrLog)
	}
	l := &LogWrites{sector: int(sector), log: log}
	atLeast := binary.LittleEndian.Uint64(head[16:])
	for at := int64(sector); at+int64(sector) <= size; {
		e, next, err := l.entry(at)
		if err != nil {
			return nil, err
		}
		if next == at || next > size { // nothing was written there yet, or not all of it
			break
		}
		l.Entries = append(l.Entries, e)
		at = next
	}
	if uint64(len(l.Entries)) < atLeast {
		return nil, fmt.Errorf("%d entries, and its head counts %d: %w", len(l.Entries), atLeast, ErrLog)
	}
	return l, nil
}

// entry decodes the entry at an offset of the log and returns where the next one is; at itself after the last.
func (l *LogWrites) entry(at int64) (LogEntry, int64, error) {
	b := make([]byte, logEntry)
	if _, err := l.log.ReadAt(b, at); err != nil {
		return LogEntry{}, 0, fmt.Errorf("entry at %d: %w: %w", at, ErrLog, err)
	}
	first, sectors := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
	flags, bytes := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	if first|sectors|flags|bytes == 0 {
		return LogEntry{}, at, nil
	}
	unit := uint64(l.sector)
	if first > 1<<54/unit || sectors > 1<<54/unit || flags&^logFlags != 0 || flags&logDiscard == 0 && sectors > maxLogWrite/unit || bytes > maxLogWrite {
		return LogEntry{}, 0, fmt.Errorf("entry at %d: %d sectors at %d, flags %#x, %d bytes: %w", at, sectors, first, flags, bytes, ErrLog)
	}
	e := LogEntry{
		Offset: int64(first * unit), Length: int64(sectors * unit), data: at + int64(unit),
		Flush: flags&logFlush != 0, FUA: flags&logFUA != 0, Discard: flags&logDiscard != 0,
	}
	next := e.data
	switch {
	case flags&logMark != 0:
		e.Length = 0
		next += (int64(bytes) + int64(unit) - 1) / int64(unit) * int64(unit)
	case !e.Discard:
		next += e.Length
	}
	return e, next, nil
}

// Flushes is how many of the first entries are flushes.
func (l *LogWrites) Flushes(first int) (n int) {
	for _, e := range l.Entries[:first] {
		if e.Flush {
			n++
		}
	}
	return n
}

// tearUnit is what a device writes at once, in bytes.
const tearUnit = 512

// PowerCut writes to an image, zeroed at first, what a device could hold whose power was cut when the first entries had
// reached it: all up to the last flush among them, and of each later one any subset of its units of 512 bytes; all of a
// FUA write.
func (l *LogWrites) PowerCut(image io.WriterAt, first int, rng *rand.Rand) error {
	durable := 0
	for i, e := range l.Entries[:first] {
		if e.Flush {
			durable = i
		}
	}
	for i, e := range l.Entries[:first] {
		if e.Length == 0 {
			continue
		}
		if err := l.apply(image, e, i < durable || e.FUA, rng); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

// apply writes one entry, all of it or some.
func (l *LogWrites) apply(image io.WriterAt, e LogEntry, whole bool, rng *rand.Rand) error {
	const piece = 1 << 20
	for at := int64(0); at < e.Length; at += piece {
		b := make([]byte, min(piece, e.Length-at))
		if !e.Discard {
			if _, err := l.log.ReadAt(b, e.data+at); err != nil {
				return fmt.Errorf("%w: %w", ErrLog, err)
			}
		}
		if whole {
			if _, err := image.WriteAt(b, e.Offset+at); err != nil {
				return err
			}
			continue
		}
		for u := 0; u < len(b); u += tearUnit {
			if rng.IntN(2) == 0 {
				continue
			}
			if _, err := image.WriteAt(b[u:min(u+tearUnit, len(b))], e.Offset+at+int64(u)); err != nil {
				return err
			}
		}
	}
	return nil
}
