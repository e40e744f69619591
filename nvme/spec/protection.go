package spec

// PISize is the size of protection information with 16 bits of guard, in bytes.
const PISize = 8

// PI is T10 protection information (NVM 1.0, section 5.2.1.1), big-endian on the wire.
//
//	OFFSET SIZE FIELD
//	     0    2 guard: CRC16 of the block's data, and of the metadata before it
//	     2    2 application tag
//	     4    4 reference tag
type PI struct {
	Guard  uint16
	App    uint16
	RefTag uint32
}

// AppEscape in the application tag turns checking off for a block; type 3 wants RefEscape beside it.
const (
	AppEscape = 0xFFFF
	RefEscape = 0xFFFFFFFF
)

// Put writes the protection information to the first 8 bytes of b, and panics on a shorter slice.
func (p PI) Put(b []byte) {
	_ = b[PISize-1]
	b[0], b[1], b[2], b[3] = byte(p.Guard>>8), byte(p.Guard), byte(p.App>>8), byte(p.App)
	b[4], b[5], b[6], b[7] = byte(p.RefTag>>24), byte(p.RefTag>>16), byte(p.RefTag>>8), byte(p.RefTag)
}

// Get reads the protection information from the first 8 bytes of b, and panics on a shorter slice.
func (p *PI) Get(b []byte) {
	_ = b[PISize-1]
	p.Guard, p.App = uint16(b[0])<<8|uint16(b[1]), uint16(b[2])<<8|uint16(b[3])
	p.RefTag = uint32(b[4])<<24 | uint32(b[5])<<16 | uint32(b[6])<<8 | uint32(b[7])
}

// Escaped tells whether checking is off for the block, by protection type.
func (p PI) Escaped(protection uint8) bool {
	return p.App == AppEscape && (protection != 3 || p.RefTag == RefEscape)
}

// t10Poly is the polynomial of the T10 DIF guard.
const t10Poly = 0x8BB7

// crcTables advance the CRC by eight bytes at once: table k is the CRC of a byte followed by k zero bytes.
var crcTables = makeCRCTables()

func makeCRCTables() (t [8][256]uint16) {
	for i := range t[0] {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ t10Poly
			} else {
				crc <<= 1
			}
		}
		t[0][i] = crc
	}
	for k := 1; k < len(t); k++ {
		for i := range t[k] {
			prev := t[k-1][i]
			t[k][i] = prev<<8 ^ t[0][prev>>8]
		}
	}
	return t
}

// CRC16 continues a T10 DIF guard over b; start with 0.
func CRC16(crc uint16, b []byte) uint16 {
	t := &crcTables
	for len(b) >= 8 {
		crc = t[7][b[0]^byte(crc>>8)] ^ t[6][b[1]^byte(crc)] ^ t[5][b[2]] ^ t[4][b[3]] ^
			t[3][b[4]] ^ t[2][b[5]] ^ t[1][b[6]] ^ t[0][b[7]]
		b = b[8:]
	}
	for _, v := range b {
		crc = crc<<8 ^ t[0][byte(crc>>8)^v]
	}
	return crc
}
