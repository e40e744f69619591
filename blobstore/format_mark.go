package blobstore

import (
	"encoding/binary"
	"hash/crc32"
)

// Format mark: what Format keeps in the first sector of a device as long as the store is not finished. It fits the
// smallest sector, so that no write of it is torn; the rest of page 0 means nothing. All integers are little-endian.
//
//	OFFSET  SIZE  FIELD
//	     0     8  magic "BKVFORMT"
//	     8     4  version, 1
//	    12     4  CRC-32C of bytes 0 to 11
//	    16   496  zero
const (
	markSize    = 512
	markMagic   = "BKVFORMT"
	markVersion = 1

	markOffVersion = 8
	markOffCRC     = 12
	markFields     = 16
)

// putFormatMark writes the mark into the first sector of page b and leaves the rest as it is.
func putFormatMark(b []byte) {
	clear(b[:markSize])
	copy(b, markMagic)
	binary.LittleEndian.PutUint32(b[markOffVersion:], markVersion)
	binary.LittleEndian.PutUint32(b[markOffCRC:], crc32.Checksum(b[:markOffCRC], castagnoli))
}

// isFormatMark reports whether b, the start of a device, begins with the mark.
func isFormatMark(b []byte) bool {
	return len(b) >= markSize && string(b[:len(markMagic)]) == markMagic &&
		binary.LittleEndian.Uint32(b[markOffVersion:]) == markVersion &&
		binary.LittleEndian.Uint32(b[markOffCRC:]) == crc32.Checksum(b[:markOffCRC], castagnoli) &&
		allZero(b[markFields:markSize])
}
