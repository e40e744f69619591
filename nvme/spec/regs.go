package spec

import "fmt"

// Offsets of the controller registers within BAR 0 (base 2.0, figure 35).
const (
	RegCAP   = 0x00 // controller capabilities, 8 bytes
	RegVS    = 0x08 // version
	RegINTMS = 0x0C // interrupt mask set
	RegINTMC = 0x10 // interrupt mask clear
	RegCC    = 0x14 // controller configuration
	RegCSTS  = 0x1C // controller status
	RegNSSR  = 0x20 // NVM subsystem reset
	RegAQA   = 0x24 // admin queue attributes
	RegASQ   = 0x28 // admin submission queue base address, 8 bytes
	RegACQ   = 0x30 // admin completion queue base address, 8 bytes
	RegCRTO  = 0x68 // controller ready timeouts

	RegDoorbells = 0x1000 // the first doorbell
)

// NSSRMagic written to NSSR resets the subsystem: "NVMe".
const NSSRMagic = 0x4E564D65

// AllOnes is what reads of a device return that is no longer on the bus.
const AllOnes = 0xFFFFFFFF

// SubmissionDoorbell is the offset of a submission queue's tail doorbell; dstrd is CAP.DSTRD.
func SubmissionDoorbell(qid uint16, dstrd uint8) uint32 {
	return RegDoorbells + 2*uint32(qid)*(4<<dstrd)
}

// CompletionDoorbell is the offset of a completion queue's head doorbell.
func CompletionDoorbell(qid uint16, dstrd uint8) uint32 {
	return RegDoorbells + (2*uint32(qid)+1)*(4<<dstrd)
}

// CAP is the register controller capabilities.
type CAP uint64

func (r CAP) MQES() uint16  { return uint16(r) }                  // largest queue, entries, zero-based
func (r CAP) CQR() bool     { return r>>16&1 != 0 }               // queues must be contiguous
func (r CAP) TO() uint8     { return uint8(bits(r64(r), 24, 8)) } // worst time to ready, 500 ms units
func (r CAP) DSTRD() uint8  { return uint8(bits(r64(r), 32, 4)) } // doorbells are 4 << DSTRD bytes apart
func (r CAP) NSSRS() bool   { return r>>36&1 != 0 }               // NVM subsystem reset
func (r CAP) CSS() uint8    { return uint8(bits(r64(r), 37, 8)) } // command sets, bits CSS*
func (r CAP) MPSMIN() uint8 { return uint8(bits(r64(r), 48, 4)) } // smallest page is 4096 << MPSMIN bytes
func (r CAP) MPSMAX() uint8 { return uint8(bits(r64(r), 52, 4)) }
func (r CAP) CMBS() bool    { return r>>57&1 != 0 } // the memory buffer is enabled through CMBMSC

func r64(r CAP) uint64 { return uint64(r) }

// Bits of CAP.CSS.
const (
	CSSNVM   = 1 << 0 // the NVM command set
	CSSIOCS  = 1 << 6 // one or more I/O command sets, named by identify
	CSSNoIOC = 1 << 7 // no I/O command set
)

// Capabilities are the fields of CAP, to make one.
type Capabilities struct {
	MQES           uint16
	CQR            bool
	TO, DSTRD      uint8
	NSSRS          bool
	CSS            uint8
	MPSMIN, MPSMAX uint8
	CMBS           bool
}

// CAP packs the fields.
func (c Capabilities) CAP() CAP {
	return CAP(uint64(c.MQES) | flag(c.CQR, 16) | uint64(c.TO)<<24 | uint64(c.DSTRD&15)<<32 | flag(c.NSSRS, 36) |
		uint64(c.CSS)<<37 | uint64(c.MPSMIN&15)<<48 | uint64(c.MPSMAX&15)<<52 | flag(c.CMBS, 57))
}

func flag(set bool, at int) uint64 {
	if set {
		return 1 << at
	}
	return 0
}

// VS is the register version.
type VS uint32

// Version packs a version.
func Version(major uint16, minor, tertiary uint8) VS {
	return VS(uint32(major)<<16 | uint32(minor)<<8 | uint32(tertiary))
}

// AtLeast compares versions.
func (r VS) AtLeast(major uint16, minor uint8) bool { return r >= Version(major, minor, 0) }

// String is like 2.0.0.
func (r VS) String() string { return fmt.Sprintf("%d.%d.%d", r>>16, r>>8&0xFF, r&0xFF) }

// CC is the register controller configuration.
type CC uint32

// Values and positions of fields of CC.
const (
	CCEnable = CC(1)

	CCCSSNVM = 0 // CSS: the NVM command set
	CCCSSAll = 6 // CSS: all that identify names

	SHNNone   = 0
	SHNNormal = 1
	SHNAbrupt = 2
)

func (r CC) EN() bool      { return r&CCEnable != 0 }
func (r CC) CSS() uint8    { return uint8(bits(uint32(r), 4, 3)) }
func (r CC) MPS() uint8    { return uint8(bits(uint32(r), 7, 4)) } // page is 4096 << MPS bytes
func (r CC) SHN() uint8    { return uint8(bits(uint32(r), 14, 2)) }
func (r CC) IOSQES() uint8 { return uint8(bits(uint32(r), 16, 4)) } // log2 of the entry size
func (r CC) IOCQES() uint8 { return uint8(bits(uint32(r), 20, 4)) }

// WithSHN sets the shutdown notification.
func (r CC) WithSHN(shn uint8) CC { return r&^(3<<14) | CC(shn&3)<<14 }

// MakeCC packs a configuration that is enabled, with the entry sizes of this specification.
func MakeCC(css, mps uint8) CC {
	return CCEnable | CC(css&7)<<4 | CC(mps&15)<<7 | 6<<16 | 4<<20
}

// CSTS is the register controller status.
type CSTS uint32

// Values of CSTS.
const (
	CSTSReady = CSTS(1)
	CSTSFatal = CSTS(2)

	SHSTNormal   = 0
	SHSTOccuring = 1
	SHSTComplete = 2
)

func (r CSTS) RDY() bool   { return r&CSTSReady != 0 }
func (r CSTS) CFS() bool   { return r&CSTSFatal != 0 } // fatal: only a reset helps
func (r CSTS) SHST() uint8 { return uint8(bits(uint32(r), 2, 2)) }
func (r CSTS) Gone() bool  { return r == AllOnes }

// WithSHST sets the shutdown status.
func (r CSTS) WithSHST(s uint8) CSTS { return r&^(3<<2) | CSTS(s&3)<<2 }

// AQA packs the admin queue attributes from entry counts, which the register holds zero-based.
func AQA(submission, completion uint16) uint32 {
	return uint32(submission-1)&0xFFF | (uint32(completion-1)&0xFFF)<<16
}

// AQASizes unpacks AQA into entry counts.
func AQASizes(r uint32) (submission, completion uint16) {
	return uint16(bits(r, 0, 12)) + 1, uint16(bits(r, 16, 12)) + 1
}
