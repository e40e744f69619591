package spec

import "fmt"

// Status is the status field of a completion without the phase tag (base 2.0, figure 91): SC in bits 7:0, SCT in bits
// 10:8, CRD in bits 12:11, M in bit 13, DNR in bit 14.
type Status uint16

// Bits of Status.
const (
	StatusDNR  Status = 1 << 14 // do not retry
	StatusMore Status = 1 << 13 // the error log has more

	codeMask Status = 0x7FF
)

// Status code types.
const (
	SCTGeneric  = 0
	SCTCommand  = 1
	SCTMedia    = 2
	SCTPath     = 3
	SCTVendor   = 7
	sctNameless = "status code type %d"
)

// OK tells whether the command was carried out.
func (s Status) OK() bool { return s&codeMask == 0 }

// Code is type and code without the flags; compare it with the Status* constants.
func (s Status) Code() Status { return s & codeMask }

// SC is the status code.
func (s Status) SC() uint8 { return uint8(s) }

// SCT is the status code type.
func (s Status) SCT() uint8 { return uint8(s >> 8 & 7) }

// DNR tells whether a retry is expected to fail the same way.
func (s Status) DNR() bool { return s&StatusDNR != 0 }

// CRD is which of the controller's command retry delays to wait, 1 to 3; 0 is none.
func (s Status) CRD() uint8 { return uint8(s >> 11 & 3) }

// Status values of SCT generic.
const (
	StatusSuccess                Status = 0x000
	StatusInvalidOpcode          Status = 0x001
	StatusInvalidField           Status = 0x002
	StatusCommandIDConflict      Status = 0x003
	StatusDataTransferError      Status = 0x004
	StatusPowerLossAbort         Status = 0x005
	StatusInternalError          Status = 0x006
	StatusAbortRequested         Status = 0x007
	StatusAbortSQDeleted         Status = 0x008
	StatusAbortFusedFailed       Status = 0x009
	StatusAbortFusedMissing      Status = 0x00A
	StatusInvalidNamespace       Status = 0x00B
	StatusSequenceError          Status = 0x00C
	StatusInvalidSGLSegment      Status = 0x00D
	StatusInvalidSGLCount        Status = 0x00E
	StatusDataSGLLength          Status = 0x00F
	StatusMetadataSGLLength      Status = 0x010
	StatusSGLType                Status = 0x011
	StatusCMBUse                 Status = 0x012
	StatusPRPOffset              Status = 0x013
	StatusAtomicWriteUnit        Status = 0x014
	StatusOperationDenied        Status = 0x015
	StatusSGLOffset              Status = 0x016
	StatusHostIDFormat           Status = 0x018
	StatusKeepAliveExpired       Status = 0x019
	StatusKeepAliveInvalid       Status = 0x01A
	StatusAbortPreempt           Status = 0x01B
	StatusSanitizeFailed         Status = 0x01C
	StatusSanitizeInProgress     Status = 0x01D
	StatusSGLGranularity         Status = 0x01E
	StatusCommandInCMBQueue      Status = 0x01F
	StatusWriteProtected         Status = 0x020
	StatusCommandInterrupted     Status = 0x021
	StatusTransientTransport     Status = 0x022
	StatusProhibitedByLockdown   Status = 0x023
	StatusAdminMediaNotReady     Status = 0x024
	StatusLBAOutOfRange          Status = 0x080
	StatusCapacityExceeded       Status = 0x081
	StatusNamespaceNotReady      Status = 0x082
	StatusReservationConflict    Status = 0x083
	StatusFormatInProgress       Status = 0x084
	StatusInvalidValueSize       Status = 0x085
	StatusInvalidKeySize         Status = 0x086
	StatusKeyDoesNotExist        Status = 0x087
	StatusUnrecovered            Status = 0x088
	StatusKeyExists              Status = 0x089
	StatusInvalidCQ              Status = 0x100
	StatusInvalidQID             Status = 0x101
	StatusInvalidQueueSize       Status = 0x102
	StatusAbortLimit             Status = 0x103
	StatusAsyncEventLimit        Status = 0x105
	StatusInvalidFirmwareSlot    Status = 0x106
	StatusInvalidFirmwareImage   Status = 0x107
	StatusInvalidInterruptVector Status = 0x108
	StatusInvalidLogPage         Status = 0x109
	StatusInvalidFormat          Status = 0x10A
	StatusFirmwareNeedsReset     Status = 0x10B
	StatusInvalidQueueDeletion   Status = 0x10C
	StatusFeatureNotSaveable     Status = 0x10D
	StatusFeatureNotChangeable   Status = 0x10E
	StatusFeatureNotNamespace    Status = 0x10F
	StatusFirmwareNeedsSubsystem Status = 0x110
	StatusFirmwareNeedsCLReset   Status = 0x111
	StatusFirmwareMaxTime        Status = 0x112
	StatusFirmwareProhibited     Status = 0x113
	StatusOverlappingRange       Status = 0x114
	StatusNSInsufficientCapacity Status = 0x115
	StatusNSIDUnavailable        Status = 0x116
	StatusNSAlreadyAttached      Status = 0x118
	StatusNSIsPrivate            Status = 0x119
	StatusNSNotAttached          Status = 0x11A
	StatusThinNotSupported       Status = 0x11B
	StatusControllerListInvalid  Status = 0x11C
	StatusSelfTestInProgress     Status = 0x11D
	StatusBootPartition          Status = 0x11E
	StatusInvalidControllerID    Status = 0x11F
	StatusSanitizePMREnabled     Status = 0x123
	StatusIOCSNotSupported       Status = 0x129
	StatusIOCSNotEnabled         Status = 0x12A
	StatusIOCSCombination        Status = 0x12B
	StatusInvalidIOCS            Status = 0x12C
	StatusConflictingAttributes  Status = 0x180
	StatusInvalidProtection      Status = 0x181
	StatusReadOnlyRange          Status = 0x182
	StatusCommandSizeLimit       Status = 0x183
	StatusZoneBoundary           Status = 0x1B8
	StatusZoneFull               Status = 0x1B9
	StatusZoneReadOnly           Status = 0x1BA
	StatusZoneOffline            Status = 0x1BB
	StatusZoneInvalidWrite       Status = 0x1BC
	StatusZoneTooManyActive      Status = 0x1BD
	StatusZoneTooManyOpen        Status = 0x1BE
	StatusZoneInvalidTransition  Status = 0x1BF
	StatusWriteFault             Status = 0x280
	StatusUnrecoveredRead        Status = 0x281
	StatusGuardCheck             Status = 0x282
	StatusAppTagCheck            Status = 0x283
	StatusRefTagCheck            Status = 0x284
	StatusCompareFailure         Status = 0x285
	StatusAccessDenied           Status = 0x286
	StatusDeallocatedBlock       Status = 0x287
	StatusStorageTagCheck        Status = 0x288
	StatusInternalPathError      Status = 0x300
	StatusANAPersistentLoss      Status = 0x301
	StatusANAInaccessible        Status = 0x302
	StatusANATransition          Status = 0x303
	StatusControllerPathError    Status = 0x360
	StatusHostPathError          Status = 0x370
	StatusAbortedByHost          Status = 0x371
)

var statusNames = map[Status]string{
	StatusSuccess: "success", StatusInvalidOpcode: "invalid opcode", StatusInvalidField: "invalid field in command",
	StatusCommandIDConflict: "command id conflict", StatusDataTransferError: "data transfer error",
	StatusPowerLossAbort: "aborted due to power loss", StatusInternalError: "internal error",
	StatusAbortRequested: "abort requested", StatusAbortSQDeleted: "aborted, submission queue deleted",
	StatusAbortFusedFailed:  "aborted, the other fused command failed",
	StatusAbortFusedMissing: "aborted, the other fused command is missing", StatusInvalidNamespace: "invalid namespace or format",
	StatusSequenceError: "command sequence error", StatusInvalidSGLSegment: "invalid SGL segment descriptor",
	StatusInvalidSGLCount: "invalid number of SGL descriptors", StatusDataSGLLength: "data SGL length invalid",
	StatusMetadataSGLLength: "metadata SGL length invalid", StatusSGLType: "SGL descriptor type invalid",
	StatusCMBUse: "invalid use of the controller memory buffer", StatusPRPOffset: "PRP offset invalid",
	StatusAtomicWriteUnit: "atomic write unit exceeded", StatusOperationDenied: "operation denied",
	StatusSGLOffset: "SGL offset invalid", StatusHostIDFormat: "host identifier inconsistent format",
	StatusKeepAliveExpired: "keep alive timer expired", StatusKeepAliveInvalid: "keep alive timeout invalid",
	StatusAbortPreempt: "aborted due to preempt and abort", StatusSanitizeFailed: "sanitize failed",
	StatusSanitizeInProgress: "sanitize in progress", StatusSGLGranularity: "SGL data block granularity invalid",
	StatusCommandInCMBQueue: "command not supported for a queue in the controller memory buffer",
	StatusWriteProtected:    "namespace is write protected", StatusCommandInterrupted: "command interrupted",
	StatusTransientTransport: "transient transport error", StatusProhibitedByLockdown: "prohibited by lockdown",
	StatusAdminMediaNotReady: "admin command media not ready", StatusLBAOutOfRange: "LBA out of range",
	StatusCapacityExceeded: "capacity exceeded", StatusNamespaceNotReady: "namespace not ready",
	StatusReservationConflict: "reservation conflict", StatusFormatInProgress: "format in progress",
	StatusInvalidValueSize: "invalid value size", StatusInvalidKeySize: "invalid key size",
	StatusKeyDoesNotExist: "KV key does not exist", StatusUnrecovered: "unrecovered error", StatusKeyExists: "key exists",
	StatusInvalidCQ: "completion queue invalid", StatusInvalidQID: "invalid queue identifier",
	StatusInvalidQueueSize: "invalid queue size", StatusAbortLimit: "abort command limit exceeded",
	StatusAsyncEventLimit: "asynchronous event request limit exceeded", StatusInvalidFirmwareSlot: "invalid firmware slot",
	StatusInvalidFirmwareImage: "invalid firmware image", StatusInvalidInterruptVector: "invalid interrupt vector",
	StatusInvalidLogPage: "invalid log page", StatusInvalidFormat: "invalid format",
	StatusFirmwareNeedsReset: "firmware activation requires a conventional reset", StatusInvalidQueueDeletion: "invalid queue deletion",
	StatusFeatureNotSaveable: "feature not saveable", StatusFeatureNotChangeable: "feature not changeable",
	StatusFeatureNotNamespace:    "feature not namespace specific",
	StatusFirmwareNeedsSubsystem: "firmware activation requires an NVM subsystem reset",
	StatusFirmwareNeedsCLReset:   "firmware activation requires a controller level reset",
	StatusFirmwareMaxTime:        "firmware activation requires maximum time violation",
	StatusFirmwareProhibited:     "firmware activation prohibited", StatusOverlappingRange: "overlapping range",
	StatusNSInsufficientCapacity: "namespace insufficient capacity", StatusNSIDUnavailable: "namespace identifier unavailable",
	StatusNSAlreadyAttached: "namespace already attached", StatusNSIsPrivate: "namespace is private",
	StatusNSNotAttached: "namespace not attached", StatusThinNotSupported: "thin provisioning not supported",
	StatusControllerListInvalid: "controller list invalid", StatusSelfTestInProgress: "device self-test in progress",
	StatusBootPartition: "boot partition write prohibited", StatusInvalidControllerID: "invalid controller identifier",
	StatusSanitizePMREnabled: "sanitize prohibited while the persistent memory region is enabled",
	StatusIOCSNotSupported:   "I/O command set not supported", StatusIOCSNotEnabled: "I/O command set not enabled",
	StatusIOCSCombination: "I/O command set combination rejected", StatusInvalidIOCS: "invalid I/O command set",
	StatusConflictingAttributes: "conflicting attributes", StatusInvalidProtection: "invalid protection information",
	StatusReadOnlyRange: "attempted write to read only range", StatusCommandSizeLimit: "command size limit exceeded",
	StatusZoneBoundary: "zoned boundary error", StatusZoneFull: "zone is full", StatusZoneReadOnly: "zone is read only",
	StatusZoneOffline: "zone is offline", StatusZoneInvalidWrite: "zone invalid write",
	StatusZoneTooManyActive: "too many active zones", StatusZoneTooManyOpen: "too many open zones",
	StatusZoneInvalidTransition: "invalid zone state transition", StatusWriteFault: "write fault",
	StatusUnrecoveredRead: "unrecovered read error", StatusGuardCheck: "end-to-end guard check error",
	StatusAppTagCheck: "end-to-end application tag check error", StatusRefTagCheck: "end-to-end reference tag check error",
	StatusCompareFailure: "compare failure", StatusAccessDenied: "access denied",
	StatusDeallocatedBlock: "deallocated or unwritten logical block", StatusStorageTagCheck: "end-to-end storage tag check error",
	StatusInternalPathError: "internal path error", StatusANAPersistentLoss: "asymmetric access persistent loss",
	StatusANAInaccessible: "asymmetric access inaccessible", StatusANATransition: "asymmetric access transition",
	StatusControllerPathError: "controller pathing error", StatusHostPathError: "host pathing error",
	StatusAbortedByHost: "command aborted by host",
}

var sctNames = map[uint8]string{
	SCTGeneric: "generic", SCTCommand: "command specific", SCTMedia: "media and data integrity", SCTPath: "path related",
	SCTVendor: "vendor specific",
}

// ClassName is the status code type in words.
func (s Status) ClassName() string {
	if n, ok := sctNames[s.SCT()]; ok {
		return n
	}
	return fmt.Sprintf(sctNameless, s.SCT())
}

// String is the specification's name of the status, with its numbers.
func (s Status) String() string {
	name, ok := statusNames[s.Code()]
	if !ok {
		name = s.ClassName() + " status"
	}
	if s.DNR() {
		return fmt.Sprintf("%s (%x/%02x, do not retry)", name, s.SCT(), s.SC())
	}
	return fmt.Sprintf("%s (%x/%02x)", name, s.SCT(), s.SC())
}
