package spec

import (
	"fmt"
	"strings"
)

// IdentifySize is the size of every identify data structure, in bytes.
const IdentifySize = 4096

// Values of CNS (base 2.0, figure 273).
const (
	CNSNamespace      = 0x00
	CNSController     = 0x01
	CNSActiveList     = 0x02
	CNSDescriptors    = 0x03
	CNSNamespaceCSI   = 0x05 // command set specific
	CNSControllerCSI  = 0x06 // command set specific
	CNSAllocatedList  = 0x10
	CNSAllocated      = 0x11
	CNSAttachedCtrls  = 0x12
	CNSControllers    = 0x13
	CNSCommandSets    = 0x1C
	CSINVM            = 0x00 // command set identifiers
	CSIKV             = 0x01
	CSIZoned          = 0x02
	ActiveListEntries = IdentifySize / 4
	BroadcastNSID     = 0xFFFFFFFF
)

// IdentifyController is the identify controller data structure (base 2.0, figure 275), the fields a host uses.
type IdentifyController struct {
	VID, SSVID          uint16
	SN                  [20]byte
	MN                  [40]byte
	FR                  [8]byte
	RAB                 uint8
	IEEE                [3]byte
	CMIC                uint8
	MDTS                uint8 // largest transfer, log2 of pages of 4096 << CAP.MPSMIN; 0 is no limit
	CNTLID              uint16
	VER                 uint32
	RTD3R, RTD3E        uint32 // resume and entry latency of runtime D3, microseconds
	OAES                uint32
	CTRATT              uint32
	CNTRLTYPE           uint8
	CRDT                [3]uint16 // command retry delays, 100 ms units
	OACS                uint16
	ACL, AERL           uint8 // aborts and asynchronous event requests at a time, zero-based
	FRMW, LPA           uint8
	ELPE, NPSS          uint8 // error log entries and power states, zero-based
	AVSCC, APSTA        uint8
	WCTEMP, CCTEMP      uint16 // kelvin
	MTFA                uint16
	HMPRE, HMMIN        uint32
	TNVMCAP, UNVMCAP    Uint128 // bytes
	RPMBS               uint32
	EDSTT               uint16
	DSTO, FWUG          uint8
	KAS                 uint16 // keep alive granularity, 100 ms units; 0 is not supported
	HCTMA, MNTMT, MXTMT uint16
	SANICAP             uint32
	SQES, CQES          uint8 // required entry size in bits 3:0, largest in bits 7:4, log2
	MAXCMD              uint16
	NN                  uint32 // largest namespace identifier
	ONCS, FUSES         uint16
	FNA, VWC            uint8
	AWUN, AWUPF         uint16 // atomic write units, logical blocks, zero-based
	NWPC                uint8
	ACWU                uint16
	OCFS                uint16 // copy descriptor formats
	SGLS                uint32
	MNAN                uint32
	SUBNQN              [256]byte
	PSD                 [32]PowerState
}

// Bits of fields of IdentifyController.
const (
	OACSSecurity = 1 << 0
	OACSFormat   = 1 << 1
	OACSFirmware = 1 << 2
	OACSNSManage = 1 << 3
	OACSSelfTest = 1 << 4
	OACSDBBUF    = 1 << 8 // doorbell buffer config

	ONCSCompare      = 1 << 0
	ONCSUncorrect    = 1 << 1
	ONCSDSM          = 1 << 2
	ONCSWriteZeroes  = 1 << 3
	ONCSSaveFeatures = 1 << 4
	ONCSReservations = 1 << 5
	ONCSTimestamp    = 1 << 6
	ONCSVerify       = 1 << 7
	ONCSCopy         = 1 << 8

	FUSESCompareWrite = 1 << 0

	FNAFormatAll = 1 << 0 // a format applies to all namespaces
	FNAEraseAll  = 1 << 1
	FNACrypto    = 1 << 2 // cryptographic erase

	VWCPresent  = 1 << 0 // there is a volatile write cache
	VWCFlushAll = 3 << 1 // flush takes the broadcast namespace identifier, when both bits are set

	OAESNamespace = 1 << 8 // namespace attribute notices
	OAESFirmware  = 1 << 9 // firmware activation notices

	LPAEffects  = 1 << 1 // commands supported and effects log
	LPAExtended = 1 << 2 // offset and 32-bit length of get log page

	SGLSSupport   = 3 << 0
	SGLSDword     = 2 // SGLSSupport: data blocks are aligned to and multiples of dwords
	SGLSBitBucket = 1 << 16

	SANICAPCrypto    = 1 << 0
	SANICAPBlock     = 1 << 1
	SANICAPOverwrite = 1 << 2
)

func (i *IdentifyController) layout(c *codec) {
	i.layoutIdentity(c)
	i.layoutAdmin(c)
	i.layoutNVM(c)
	for n := range i.PSD {
		c.sub(2048+n*powerStateSize, powerStateSize, i.PSD[n].layout)
	}
}

func (i *IdentifyController) layoutIdentity(c *codec) {
	c.u16(0, &i.VID)
	c.u16(2, &i.SSVID)
	c.bytes(4, i.SN[:])
	c.bytes(24, i.MN[:])
	c.bytes(64, i.FR[:])
	c.u8(72, &i.RAB)
	c.bytes(73, i.IEEE[:])
	c.u8(76, &i.CMIC)
	c.u8(77, &i.MDTS)
	c.u16(78, &i.CNTLID)
	c.u32(80, &i.VER)
	c.u32(84, &i.RTD3R)
	c.u32(88, &i.RTD3E)
	c.u32(92, &i.OAES)
	c.u32(96, &i.CTRATT)
	c.u8(111, &i.CNTRLTYPE)
	for n := range i.CRDT {
		c.u16(128+2*n, &i.CRDT[n])
	}
}

func (i *IdentifyController) layoutAdmin(c *codec) {
	c.u16(256, &i.OACS)
	c.u8(258, &i.ACL)
	c.u8(259, &i.AERL)
	c.u8(260, &i.FRMW)
	c.u8(261, &i.LPA)
	c.u8(262, &i.ELPE)
	c.u8(263, &i.NPSS)
	c.u8(264, &i.AVSCC)
	c.u8(265, &i.APSTA)
	c.u16(266, &i.WCTEMP)
	c.u16(268, &i.CCTEMP)
	c.u16(270, &i.MTFA)
	c.u32(272, &i.HMPRE)
	c.u32(276, &i.HMMIN)
	c.u128(280, &i.TNVMCAP)
	c.u128(296, &i.UNVMCAP)
	c.u32(312, &i.RPMBS)
	c.u16(316, &i.EDSTT)
	c.u8(318, &i.DSTO)
	c.u8(319, &i.FWUG)
	c.u16(320, &i.KAS)
	c.u16(322, &i.HCTMA)
	c.u16(324, &i.MNTMT)
	c.u16(326, &i.MXTMT)
	c.u32(328, &i.SANICAP)
}

func (i *IdentifyController) layoutNVM(c *codec) {
	c.u8(512, &i.SQES)
	c.u8(513, &i.CQES)
	c.u16(514, &i.MAXCMD)
	c.u32(516, &i.NN)
	c.u16(520, &i.ONCS)
	c.u16(522, &i.FUSES)
	c.u8(524, &i.FNA)
	c.u8(525, &i.VWC)
	c.u16(526, &i.AWUN)
	c.u16(528, &i.AWUPF)
	c.u8(531, &i.NWPC)
	c.u16(532, &i.ACWU)
	c.u16(534, &i.OCFS)
	c.u32(536, &i.SGLS)
	c.u32(540, &i.MNAN)
	c.bytes(768, i.SUBNQN[:])
}

// Unmarshal reads the structure from the first 4096 bytes of b.
func (i *IdentifyController) Unmarshal(b []byte) error { return unmarshal(b, IdentifySize, i.layout) }

// Marshal writes the structure to the first 4096 bytes of b.
func (i *IdentifyController) Marshal(b []byte) error { return marshal(b, IdentifySize, i.layout) }

// Serial is the serial number without padding; bytes that are not printable ASCII become dots.
func (i *IdentifyController) Serial() string { return ascii(i.SN[:]) }

// Model is the model number.
func (i *IdentifyController) Model() string { return ascii(i.MN[:]) }

// Firmware is the firmware revision.
func (i *IdentifyController) Firmware() string { return ascii(i.FR[:]) }

// NQN is the subsystem's qualified name, empty where there is none.
func (i *IdentifyController) NQN() string { return ascii(i.SUBNQN[:]) }

func ascii(b []byte) string {
	s := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, string(trimNUL(b)))
	return strings.TrimSpace(s)
}

func trimNUL(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

const powerStateSize = 32

// PowerState is a power state descriptor (base 2.0, figure 276).
type PowerState struct {
	MP         uint16 // most power: 0.01 W units, 0.0001 W with bit 0 of Flags
	Flags      uint8  // bit 0 MXPS, bit 1 NOPS: not operational
	ENLAT      uint32 // microseconds
	EXLAT      uint32 // microseconds
	RRT, RRL   uint8
	RWT, RWL   uint8
	IDLP, ACTP uint16
}

func (p *PowerState) layout(c *codec) {
	c.u16(0, &p.MP)
	c.u8(3, &p.Flags)
	c.u32(4, &p.ENLAT)
	c.u32(8, &p.EXLAT)
	c.u8(12, &p.RRT)
	c.u8(13, &p.RRL)
	c.u8(14, &p.RWT)
	c.u8(15, &p.RWL)
	c.u16(16, &p.IDLP)
	c.u16(20, &p.ACTP)
}

// NVMController is what identify says of a controller for the NVM command set (NVM 1.0, figure 100). Sizes are log2 of
// pages of 4096 << CAP.MPSMIN bytes; 0 is no limit.
type NVMController struct {
	VSL, WZSL, WUSL uint8  // largest verify, write zeroes, write uncorrectable
	DMRL            uint8  // ranges of dataset management; 0 is no limit
	DMRSL           uint32 // logical blocks of one range
	DMSL            uint64 // logical blocks of all ranges
}

func (i *NVMController) layout(c *codec) {
	c.u8(0, &i.VSL)
	c.u8(1, &i.WZSL)
	c.u8(2, &i.WUSL)
	c.u8(3, &i.DMRL)
	c.u32(4, &i.DMRSL)
	c.u64(8, &i.DMSL)
}

// Unmarshal reads the structure from the first 4096 bytes of b.
func (i *NVMController) Unmarshal(b []byte) error { return unmarshal(b, IdentifySize, i.layout) }

// Marshal writes the structure to the first 4096 bytes of b.
func (i *NVMController) Marshal(b []byte) error { return marshal(b, IdentifySize, i.layout) }

// ActiveList reads a list of namespace identifiers, ascending, that ends at the first zero. An identifier that is out of
// order ends it with an error.
func ActiveList(b []byte) ([]uint32, error) {
	if len(b) < IdentifySize {
		return nil, fmt.Errorf("%d bytes, want %d: %w", len(b), IdentifySize, ErrShort)
	}
	var ids []uint32
	for last := uint32(0); len(ids) < ActiveListEntries; {
		id := le.Uint32(b[4*len(ids):])
		if id == 0 {
			break
		}
		if id <= last {
			return ids, fmt.Errorf("namespace %d follows %d: %w", id, last, ErrMalformed)
		}
		ids, last = append(ids, id), id
	}
	return ids, nil
}

// PutActiveList writes a list of at most 1024 identifiers to the first 4096 bytes of b.
func PutActiveList(b []byte, ids []uint32) error {
	if len(b) < IdentifySize || len(ids) > ActiveListEntries {
		return fmt.Errorf("%d identifiers into %d bytes: %w", len(ids), len(b), ErrShort)
	}
	clear(b[:IdentifySize])
	for i, id := range ids {
		le.PutUint32(b[4*i:], id)
	}
	return nil
}
