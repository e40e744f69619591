package spec

// Feature identifiers (base 2.0, figure 317; NVM 1.0, figure 83).
const (
	FeatArbitration      = 0x01
	FeatPower            = 0x02
	FeatTemperature      = 0x04
	FeatErrorRecovery    = 0x05
	FeatWriteCache       = 0x06
	FeatQueues           = 0x07
	FeatCoalescing       = 0x08
	FeatInterruptVector  = 0x09
	FeatAtomicity        = 0x0A
	FeatAsyncEvents      = 0x0B
	FeatAutoPower        = 0x0C
	FeatHostMemory       = 0x0D
	FeatTimestamp        = 0x0E
	FeatKeepAlive        = 0x0F
	FeatThermal          = 0x10
	FeatNonOperational   = 0x11
	FeatHostBehavior     = 0x16
	FeatSanitize         = 0x17
	FeatCommandSets      = 0x19
	FeatSoftwareProgress = 0x80
	FeatHostID           = 0x81
	FeatWriteProtect     = 0x84
)

// Save is bit 31 of CDW10 of set features: the value outlives a reset.
const Save = 1 << 31

// Which value get features returns, in bits 10:8 of CDW10.
const (
	SelectCurrent      = 0
	SelectDefault      = 1
	SelectSaved        = 2
	SelectCapabilities = 3
)

// QueueCounts packs the feature number of queues from counts, which the wire holds zero-based.
func QueueCounts(submission, completion uint16) uint32 {
	return uint32(submission-1) | uint32(completion-1)<<16
}

// GrantedQueues unpacks what the controller allocated.
func GrantedQueues(dw0 uint32) (submission, completion uint32) {
	return dw0&0xFFFF + 1, dw0>>16 + 1
}

// HostBehaviorSize is the data structure of the feature host behavior support; byte 0 bit 0 is ACRE: the host honours
// command retry delays.
const HostBehaviorSize = 512

// AsyncEvent is dword 0 of a completed asynchronous event request (base 2.0, figure 146).
type AsyncEvent uint32

// Types of asynchronous events.
const (
	EventError     = 0
	EventHealth    = 1
	EventNotice    = 2
	EventImmediate = 3
	EventSpecific  = 6 // of an I/O command set
	EventVendor    = 7
)

// Information of events of type notice.
const (
	NoticeNamespace = 0x00 // attributes of a namespace changed
	NoticeFirmware  = 0x01 // firmware activation starts
	NoticeTelemetry = 0x02
	NoticeANA       = 0x03
)

// MakeAsyncEvent packs an event.
func MakeAsyncEvent(kind, info, log uint8) AsyncEvent {
	return AsyncEvent(uint32(kind&7) | uint32(info)<<8 | uint32(log)<<16)
}

func (e AsyncEvent) Type() uint8 { return uint8(e & 7) }
func (e AsyncEvent) Info() uint8 { return uint8(e >> 8) }
func (e AsyncEvent) Log() uint8  { return uint8(e >> 16) } // the log page that has more, reading it re-arms the event

// FormatCDW10 packs format NVM (base 2.0, figure 182).
func FormatCDW10(format uint8, extended bool, protection uint8, first bool, erase uint8) uint32 {
	v := uint32(format&15) | uint32(format>>4&3)<<12 | uint32(protection&7)<<5 | uint32(erase&7)<<9
	return v | uint32(flag(extended, 4)) | uint32(flag(first, 8))
}

// Secure erase settings of format NVM.
const (
	EraseNone   = 0
	EraseUser   = 1
	EraseCrypto = 2
)

// Actions of sanitize, in bits 2:0 of CDW10.
const (
	SanitizeExitFailure = 1
	SanitizeBlock       = 2
	SanitizeOverwrite   = 3
	SanitizeCrypto      = 4
)
