package spec

// Log page identifiers (base 2.0, figure 202).
const (
	LogSupported     = 0x00
	LogError         = 0x01
	LogSMART         = 0x02
	LogFirmware      = 0x03
	LogChangedNS     = 0x04
	LogEffects       = 0x05
	LogSelfTest      = 0x06
	LogTelemetryHost = 0x07
	LogTelemetryCtrl = 0x08
	LogEndurance     = 0x09
	LogANA           = 0x0C
	LogPersistent    = 0x0D
	LogSanitize      = 0x81
	LogChangedZones  = 0xBF
)

// Sizes of log pages, in bytes.
const (
	ErrorEntrySize  = 64
	SMARTSize       = 512
	FirmwareSize    = 512
	ChangedNSSize   = 4096
	EffectsSize     = 4096
	SanitizeSize    = 512
	SupportedSize   = 1024
	ChangedOverflow = 0xFFFFFFFF // sole entry of the changed namespace list: more changed than it holds
)

// ErrorEntry is an entry of the error information log (base 2.0, figure 206).
type ErrorEntry struct {
	Count       uint64 // since the controller was made; 0 is an invalid entry
	SQID, CID   uint16
	StatusField uint16 // phase tag in bit 0, Status above it
	Location    uint16 // byte in bits 7:0, bit in bits 10:8 of the command
	LBA         uint64
	NSID        uint32
	Vendor      uint8 // log page with more
	TRType      uint8
	Specific    uint64
}

func (e *ErrorEntry) layout(c *codec) {
	c.u64(0, &e.Count)
	c.u16(8, &e.SQID)
	c.u16(10, &e.CID)
	c.u16(12, &e.StatusField)
	c.u16(14, &e.Location)
	c.u64(16, &e.LBA)
	c.u32(24, &e.NSID)
	c.u8(28, &e.Vendor)
	c.u8(29, &e.TRType)
	c.u64(32, &e.Specific)
}

// Status is the status of the command that failed.
func (e *ErrorEntry) Status() Status { return Status(e.StatusField >> 1) }

// Unmarshal reads the entry from the first 64 bytes of b.
func (e *ErrorEntry) Unmarshal(b []byte) error { return unmarshal(b, ErrorEntrySize, e.layout) }

// Marshal writes the entry to the first 64 bytes of b.
func (e *ErrorEntry) Marshal(b []byte) error { return marshal(b, ErrorEntrySize, e.layout) }

// SMART is the SMART / health information log (base 2.0, figure 207).
type SMART struct {
	CriticalWarning    uint8
	Temperature        uint16  // kelvin
	AvailableSpare     uint8   // percent
	SpareThreshold     uint8   // percent
	PercentageUsed     uint8   // may exceed 100
	DataUnitsRead      Uint128 // 512,000 bytes each
	DataUnitsWritten   Uint128
	HostReads          Uint128 // commands
	HostWrites         Uint128
	BusyMinutes        Uint128
	PowerCycles        Uint128
	PowerOnHours       Uint128
	UnsafeShutdowns    Uint128
	MediaErrors        Uint128
	ErrorEntries       Uint128
	WarningMinutes     uint32 // above the warning temperature
	CriticalMinutes    uint32
	TemperatureSensors [8]uint16 // kelvin; 0 is not there
}

// Bits of SMART.CriticalWarning.
const (
	WarnSpare        = 1 << 0
	WarnTemperature  = 1 << 1
	WarnReliability  = 1 << 2
	WarnReadOnly     = 1 << 3
	WarnVolatileFail = 1 << 4
	WarnPMR          = 1 << 5
)

func (s *SMART) layout(c *codec) {
	c.u8(0, &s.CriticalWarning)
	c.u16(1, &s.Temperature)
	c.u8(3, &s.AvailableSpare)
	c.u8(4, &s.SpareThreshold)
	c.u8(5, &s.PercentageUsed)
	for n, v := range []*Uint128{&s.DataUnitsRead, &s.DataUnitsWritten, &s.HostReads, &s.HostWrites, &s.BusyMinutes,
		&s.PowerCycles, &s.PowerOnHours, &s.UnsafeShutdowns, &s.MediaErrors, &s.ErrorEntries} {
		c.u128(32+16*n, v)
	}
	c.u32(192, &s.WarningMinutes)
	c.u32(196, &s.CriticalMinutes)
	for n := range s.TemperatureSensors {
		c.u16(200+2*n, &s.TemperatureSensors[n])
	}
}

// Unmarshal reads the log from the first 512 bytes of b.
func (s *SMART) Unmarshal(b []byte) error { return unmarshal(b, SMARTSize, s.layout) }

// Marshal writes the log to the first 512 bytes of b.
func (s *SMART) Marshal(b []byte) error { return marshal(b, SMARTSize, s.layout) }

// FirmwareSlots is the firmware slot information log (base 2.0, figure 209).
type FirmwareSlots struct {
	AFI uint8 // active slot in bits 2:0, slot of the next reset in bits 6:4
	FRS [7][8]byte
}

func (f *FirmwareSlots) layout(c *codec) {
	c.u8(0, &f.AFI)
	for n := range f.FRS {
		c.bytes(8+8*n, f.FRS[n][:])
	}
}

// Slot is the revision in a slot, 1 to 7; empty where there is none.
func (f *FirmwareSlots) Slot(n int) string {
	if n < 1 || n > len(f.FRS) {
		return ""
	}
	return ascii(f.FRS[n-1][:])
}

// Unmarshal reads the log from the first 512 bytes of b.
func (f *FirmwareSlots) Unmarshal(b []byte) error { return unmarshal(b, FirmwareSize, f.layout) }

// Marshal writes the log to the first 512 bytes of b.
func (f *FirmwareSlots) Marshal(b []byte) error { return marshal(b, FirmwareSize, f.layout) }

// Effects is the commands supported and effects log (base 2.0, figure 211).
type Effects struct {
	Admin, IO [256]uint32
}

// Bits of an entry of Effects.
const (
	EffectSupported = 1 << 0 // CSUPP
	EffectChanges   = 1 << 1 // LBCC: logical blocks change
	EffectNSChange  = 1 << 3 // NIC: the inventory of namespaces changes
)

func (e *Effects) layout(c *codec) {
	for n := range e.Admin {
		c.u32(4*n, &e.Admin[n])
	}
	for n := range e.IO {
		c.u32(1024+4*n, &e.IO[n])
	}
}

// Unmarshal reads the log from the first 4096 bytes of b.
func (e *Effects) Unmarshal(b []byte) error { return unmarshal(b, EffectsSize, e.layout) }

// Marshal writes the log to the first 4096 bytes of b.
func (e *Effects) Marshal(b []byte) error { return marshal(b, EffectsSize, e.layout) }

// SanitizeStatus is the sanitize status log (base 2.0, figure 242).
type SanitizeStatus struct {
	SPROG  uint16 // progress, in 1/65536
	SSTAT  uint16
	SCDW10 uint32
	ETO    uint32 // seconds an overwrite takes; all ones is unknown
	ETBE   uint32 // seconds a block erase takes
	ETCE   uint32 // seconds a crypto erase takes
}

// Values of bits 2:0 of SanitizeStatus.SSTAT.
const (
	SanitizeNever   = 0
	SanitizeDone    = 1
	SanitizeRunning = 2
	SanitizeFailed  = 3
)

func (s *SanitizeStatus) layout(c *codec) {
	c.u16(0, &s.SPROG)
	c.u16(2, &s.SSTAT)
	c.u32(4, &s.SCDW10)
	c.u32(8, &s.ETO)
	c.u32(12, &s.ETBE)
	c.u32(16, &s.ETCE)
}

// Unmarshal reads the log from the first 512 bytes of b.
func (s *SanitizeStatus) Unmarshal(b []byte) error { return unmarshal(b, SanitizeSize, s.layout) }

// Marshal writes the log to the first 512 bytes of b.
func (s *SanitizeStatus) Marshal(b []byte) error { return marshal(b, SanitizeSize, s.layout) }
