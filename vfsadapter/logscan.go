package vfsadapter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Pebble's write-ahead log, as its record package (v2.1.7) writes it: blocks of 32 KiB, and in each of them chunks, none
// of which crosses the end of its block. A record is one full chunk or a first, middle and a last one. What is left of
// a block that has no room for a header is zeros.
//
//	OFFSET SIZE FIELD
//	     0    4 masked CRC-32C of the chunk from offset 6 on
//	     4    2 bytes of payload
//	     6    1 encoding: format and position in the record
//	     7    4 number of the log, lower 32 bits; in the formats "recyclable" and "with synced offset"
//	    11    8 bytes of the log that were durable when the chunk was made; in the format "with synced offset"
//
// A log that was closed ends in a trailer: the header of an empty recyclable chunk without a checksum, with the number
// of the log and one more.
const (
	logBlockSize        = 32 << 10
	recyclableHeader    = 11
	syncedHeader        = 19
	recyclableFull      = 5 // first, middle and last follow
	syncedFull          = 9 // likewise
	syncedLast          = 12
	positionsOfEncoding = 4
)

// Positions of a chunk in its record, in the order of the encodings.
const (
	chunkFull = iota
	chunkFirst
	chunkMiddle
	chunkLast
)

// logScan is what a log holds.
type logScan struct {
	end    int64 // offset behind the last whole record
	stop   int64 // offset of what is no chunk of this log, or the length of the file
	closed bool  // the trailer stands at stop: whoever wrote the log has closed it
	proof  int64 // offset of a chunk behind stop which says that stop was durable when it was written; -1: there is none
}

// logChunk is one chunk.
type logChunk struct {
	size      int // bytes, header included
	position  int
	hasSynced bool  // the format says how much was durable
	synced    int64 // bytes of the log that were durable; 0 where the format does not say
}

// scanLog reads a log to its end. Pebble takes the first chunk that is none for the end of the log unless a later block
// tells better, and any header with the next log's number for a trailer; scanLog also looks into the rest of the block,
// and holds a trailer to its form.
func scanLog(r io.Reader, num uint32) (logScan, error) {
	s := logScanner{r: r, num: num, block: make([]byte, logBlockSize), logScan: logScan{proof: -1}}
	if err := s.walk(); err != nil {
		return logScan{}, err
	}
	if !s.closed {
		if err := s.findProof(); err != nil {
			return logScan{}, err
		}
	}
	return s.logScan, nil
}

type logScanner struct {
	r     io.Reader
	num   uint32
	block []byte // the present one, as far as there is one
	base  int64  // its offset
	pos   int    // in it
	logScan
}

// next reads the next block; false at the end of the file.
func (s *logScanner) next() (bool, error) {
	s.base += int64(len(s.block))
	s.pos = 0
	n, err := io.ReadFull(s.r, s.block[:logBlockSize])
	s.block = s.block[:n]
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return n > 0, nil
}

// walk goes from chunk to chunk up to the first place where there is none.
func (s *logScanner) walk() error {
	s.base = -logBlockSize
	inRecord := false
	for {
		if len(s.block) < logBlockSize { // the last block of the file, or none
			if s.pos == len(s.block) {
				s.stop = s.base + int64(s.pos)
				return nil
			}
		} else if s.base < 0 || s.isPadding() {
			more, err := s.next()
			if err != nil {
				return err
			}
			if !more {
				s.stop = s.base
				return nil
			}
			continue
		}
		c, ok := s.chunk(s.pos)
		if !ok || (c.position == chunkFull || c.position == chunkFirst) == inRecord {
			s.stop = s.base + int64(s.pos)
			s.closed = !ok && !inRecord && s.isTrailer()
			return nil
		}
		s.pos += c.size
		inRecord = c.position == chunkFirst || c.position == chunkMiddle
		if !inRecord {
			s.end = s.base + int64(s.pos)
		}
	}
}

// isPadding says that the rest of a whole block is too short for a chunk with a synced offset, and zeros.
func (s *logScanner) isPadding() bool {
	rest := s.block[s.pos:]
	return len(rest) < syncedHeader && len(bytes.Trim(rest, "\x00")) == 0
}

// isTrailer looks for one at the present place.
func (s *logScanner) isTrailer() bool {
	b := s.block[s.pos:]
	return len(b) >= recyclableHeader &&
		binary.LittleEndian.Uint32(b) == 0 && binary.LittleEndian.Uint16(b[4:]) == 0 &&
		b[6] == recyclableFull && binary.LittleEndian.Uint32(b[7:]) == s.num+1
}

// chunk reads the chunk of this log that begins at pos of the block; false if there is none.
func (s *logScanner) chunk(pos int) (logChunk, bool) {
	c, ok := chunkHeader(s.block[pos:], s.num)
	if !ok {
		return c, false
	}
	b := s.block[pos : pos+c.size]
	return c, binary.LittleEndian.Uint32(b) == logChecksum(b[6:])
}

// chunkHeader reads the header of a chunk, of which b is what is left of its block, and leaves the checksum alone. False: it
// cannot be one of the log of that number.
func chunkHeader(b []byte, num uint32) (c logChunk, ok bool) {
	if len(b) < recyclableHeader || b[6] < recyclableFull || b[6] > syncedLast || binary.LittleEndian.Uint32(b[7:]) != num {
		return c, false
	}
	c.size = recyclableHeader
	if c.hasSynced = b[6] >= syncedFull; c.hasSynced {
		c.size = syncedHeader
		if len(b) < syncedHeader {
			return c, false
		}
		c.synced = int64(binary.LittleEndian.Uint64(b[recyclableHeader:]))
	}
	c.size += int(binary.LittleEndian.Uint16(b[4:]))
	c.position = int(b[6]-recyclableFull) % positionsOfEncoding
	return c, c.size <= len(b)
}

// findProof looks behind stop for a chunk of this log that was written when stop was durable. What a crash leaves there has
// none: no byte that was not durable is part of what a later chunk says was. A value may hold bytes that look like a
// chunk, so the payload of the chunk at stop is not looked into where its header can be read, and a chunk cannot say
// more than what lies before it.
func (s *logScanner) findProof() error {
	s.pos += s.sizeOfBad(s.pos)
	for {
		for s.pos = s.seek(s.pos); s.pos >= 0; s.pos = s.seek(s.pos) {
			c, ok := s.chunk(s.pos)
			at := s.base + int64(s.pos)
			switch {
			case ok && c.synced > s.stop && c.synced <= at:
				s.proof = at
				return nil
			case ok:
				s.pos += c.size
			default:
				s.pos++
			}
		}
		if more, err := s.next(); err != nil || !more {
			return err
		}
	}
}

// sizeOfBad is how many bytes to pass over at what is no chunk: all of one whose header can be read. The checksum tells if a
// bit of the length was flipped.
func (s *logScanner) sizeOfBad(pos int) int {
	b := s.block[pos:]
	if len(b) < recyclableHeader {
		return 1
	}
	length := b[4:6]
	for bit := range 16 {
		length[bit/8] ^= 1 << (bit % 8)
		c, ok := s.chunk(pos)
		length[bit/8] ^= 1 << (bit % 8)
		if ok {
			return c.size
		}
	}
	if c, ok := chunkHeader(b, s.num); ok {
		return c.size
	}
	return 1
}

// seek returns the first place from pos on, in the block, whose header would have the number of this log; -1 if there is none.
func (s *logScanner) seek(pos int) int {
	const numOffset = 7
	if pos+numOffset > len(s.block) {
		return -1
	}
	i := bytes.Index(s.block[pos+numOffset:], binary.LittleEndian.AppendUint32(nil, s.num))
	if i < 0 {
		return -1
	}
	return pos + i
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logChecksum is Pebble's: a CRC-32C, masked because what is covered may hold such checksums itself.
func logChecksum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
