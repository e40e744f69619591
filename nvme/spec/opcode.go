package spec

import "fmt"

// Opcodes of the admin command set (base 2.0, figure 138).
const (
	AdminDeleteSQ         = 0x00
	AdminCreateSQ         = 0x01
	AdminGetLogPage       = 0x02
	AdminDeleteCQ         = 0x04
	AdminCreateCQ         = 0x05
	AdminIdentify         = 0x06
	AdminAbort            = 0x08
	AdminSetFeatures      = 0x09
	AdminGetFeatures      = 0x0A
	AdminAsyncEvent       = 0x0C
	AdminNSManagement     = 0x0D
	AdminFirmwareCommit   = 0x10
	AdminFirmwareDownload = 0x11
	AdminSelfTest         = 0x14
	AdminNSAttachment     = 0x15
	AdminKeepAlive        = 0x18
	AdminDirectiveSend    = 0x19
	AdminDirectiveReceive = 0x1A
	AdminVirtualization   = 0x1C
	AdminLockdown         = 0x24
	AdminDoorbellBuffer   = 0x7C
	AdminFormat           = 0x80
	AdminSecuritySend     = 0x81
	AdminSecurityReceive  = 0x82
	AdminSanitize         = 0x84
	AdminGetLBAStatus     = 0x86
)

// Opcodes of the NVM and zoned namespace command sets (NVM 1.0, figure 16; ZNS 1.1, figure 19).
const (
	CmdFlush             = 0x00
	CmdWrite             = 0x01
	CmdRead              = 0x02
	CmdWriteUncorrect    = 0x04
	CmdCompare           = 0x05
	CmdWriteZeroes       = 0x08
	CmdDSM               = 0x09
	CmdVerify            = 0x0C
	CmdReservationReg    = 0x0D
	CmdReservationReport = 0x0E
	CmdReservationAcq    = 0x11
	CmdReservationRel    = 0x15
	CmdCopy              = 0x19
	CmdZoneSend          = 0x79
	CmdZoneReceive       = 0x7A
	CmdZoneAppend        = 0x7D
)

// Bits of CDW12 of commands that read and write.
const (
	LimitedRetry = 1 << 31
	FUA          = 1 << 30
	PRACT        = 1 << 29 // the controller inserts and strips protection information
	PRCHKGuard   = 1 << 28
	PRCHKApp     = 1 << 27
	PRCHKRef     = 1 << 26
	PRINFOMask   = PRACT | PRCHKGuard | PRCHKApp | PRCHKRef
	Deallocate   = 1 << 25 // DEAC of write zeroes
)

// DSMDeallocate is the attribute deallocate of dataset management, in CDW11.
const DSMDeallocate = 1 << 2

var adminNames = map[uint8]string{
	AdminDeleteSQ: "delete submission queue", AdminCreateSQ: "create submission queue", AdminGetLogPage: "get log page",
	AdminDeleteCQ: "delete completion queue", AdminCreateCQ: "create completion queue", AdminIdentify: "identify",
	AdminAbort: "abort", AdminSetFeatures: "set features", AdminGetFeatures: "get features",
	AdminAsyncEvent: "asynchronous event request", AdminNSManagement: "namespace management",
	AdminFirmwareCommit: "firmware commit", AdminFirmwareDownload: "firmware image download",
	AdminSelfTest: "device self-test", AdminNSAttachment: "namespace attachment", AdminKeepAlive: "keep alive",
	AdminDirectiveSend: "directive send", AdminDirectiveReceive: "directive receive",
	AdminVirtualization: "virtualization management", AdminLockdown: "lockdown",
	AdminDoorbellBuffer: "doorbell buffer config", AdminFormat: "format NVM", AdminSecuritySend: "security send",
	AdminSecurityReceive: "security receive", AdminSanitize: "sanitize", AdminGetLBAStatus: "get LBA status",
}

var ioNames = map[uint8]string{
	CmdFlush: "flush", CmdWrite: "write", CmdRead: "read", CmdWriteUncorrect: "write uncorrectable",
	CmdCompare: "compare", CmdWriteZeroes: "write zeroes", CmdDSM: "dataset management", CmdVerify: "verify",
	CmdReservationReg: "reservation register", CmdReservationReport: "reservation report",
	CmdReservationAcq: "reservation acquire", CmdReservationRel: "reservation release", CmdCopy: "copy",
	CmdZoneSend: "zone management send", CmdZoneReceive: "zone management receive", CmdZoneAppend: "zone append",
}

// AdminName is an admin opcode in words.
func AdminName(opcode uint8) string { return opcodeName(adminNames, opcode) }

// IOName is an opcode of an I/O command set in words.
func IOName(opcode uint8) string { return opcodeName(ioNames, opcode) }

func opcodeName(names map[uint8]string, opcode uint8) string {
	if s, ok := names[opcode]; ok {
		return s
	}
	return fmt.Sprintf("opcode %#02x", opcode)
}

// Data transfer of a command, by the two lowest bits of its opcode (base 2.0, section 3.3.3.1).
const (
	TransferNone   = 0
	TransferToCtrl = 1
	TransferToHost = 2
)

// Transfer is which way data goes.
func Transfer(opcode uint8) uint8 { return opcode & 3 }
