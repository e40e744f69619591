package nvme

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Sentinels of the driver and the transports. Every error of this package and the transports wraps one of them, or is a
// *StatusError; test with errors.Is.
var (
	ErrGone         = errors.New("controller is gone")                                  // hot removal, a peer that died, use after Close
	ErrUnsupported  = errors.New("not supported by the controller")                     // or by the transport
	ErrNotShareable = errors.New("memory cannot be shared with this controller")        // Transport.Map
	ErrNotMapped    = errors.New("memory is not registered with the controller")        // a buffer outside of Register and Alloc
	ErrTimeout      = errors.New("controller did not answer in time")                   // of a register, or of a command that an abort ended
	ErrReset        = errors.New("command was lost to a controller reset")              // it may or may not have been carried out
	ErrFailed       = errors.New("controller failed and a reset did not bring it back") // until Reset succeeds
	ErrProtocol     = errors.New("controller violates the protocol")                    // answers that cannot be
	ErrInvalid      = errors.New("invalid request")                                     // a mistake of the caller, nothing was sent
	ErrClosed       = errors.New("queue is closed")
	ErrNoQueues     = errors.New("all queue pairs that the controller granted are in use")
	ErrNoNamespace  = errors.New("namespace is not there") // never was, detached, or its format is one the driver cannot use
	ErrOutOfRange   = errors.New("beyond the end of the namespace")
	ErrMemory       = errors.New("memory of the driver is exhausted") // the 4 MiB that a controller may use
	ErrInUse        = errors.New("requests are outstanding")
)

// Sentinels that a *StatusError is, by its status.
var (
	ErrMiscompare     = errors.New("data differs from what was expected")
	ErrProtection     = errors.New("end-to-end protection check failed") // guard, application or reference tag
	ErrMedia          = errors.New("media error")
	ErrWriteProtected = errors.New("namespace is write protected")
	ErrNoSpace        = errors.New("no capacity left")
	ErrAborted        = errors.New("command was aborted")
	ErrNotReady       = errors.New("not ready") // the retries that are allowed were used up
	ErrZone           = errors.New("the zone's state does not allow it")
)

// StatusError is a command that the controller completed with an error.
type StatusError struct {
	Command string // in words
	Admin   bool   // an admin command, which has no LBA
	NSID    uint32
	LBA     uint64
	Status  spec.Status
}

// Error names the command, the blocks that it was about, and the status.
func (e *StatusError) Error() string {
	switch {
	case e.NSID == 0 || e.NSID == spec.BroadcastNSID:
		return fmt.Sprintf("%s: %v", e.Command, e.Status)
	case e.Admin:
		return fmt.Sprintf("%s, namespace %d: %v", e.Command, e.NSID, e.Status)
	}
	return fmt.Sprintf("%s, namespace %d, LBA %d: %v", e.Command, e.NSID, e.LBA, e.Status)
}

// Is matches the sentinel of the status.
func (e *StatusError) Is(target error) bool { return target == statusSentinels[e.Status.Code()] }

var statusSentinels = map[spec.Status]error{
	spec.StatusInvalidOpcode:          ErrUnsupported,
	spec.StatusInvalidLogPage:         ErrUnsupported,
	spec.StatusInvalidField:           ErrInvalid,
	spec.StatusInvalidFormat:          ErrInvalid,
	spec.StatusCommandSizeLimit:       ErrInvalid,
	spec.StatusInvalidNamespace:       ErrNoNamespace,
	spec.StatusNSNotAttached:          ErrNoNamespace,
	spec.StatusAbortRequested:         ErrAborted,
	spec.StatusAbortSQDeleted:         ErrAborted,
	spec.StatusAbortedByHost:          ErrAborted,
	spec.StatusPowerLossAbort:         ErrAborted,
	spec.StatusNamespaceNotReady:      ErrNotReady,
	spec.StatusFormatInProgress:       ErrNotReady,
	spec.StatusSanitizeInProgress:     ErrNotReady,
	spec.StatusCommandInterrupted:     ErrNotReady,
	spec.StatusAdminMediaNotReady:     ErrNotReady,
	spec.StatusLBAOutOfRange:          ErrOutOfRange,
	spec.StatusCapacityExceeded:       ErrNoSpace,
	spec.StatusNSInsufficientCapacity: ErrNoSpace,
	spec.StatusWriteProtected:         ErrWriteProtected,
	spec.StatusReadOnlyRange:          ErrWriteProtected,
	spec.StatusCompareFailure:         ErrMiscompare,
	spec.StatusGuardCheck:             ErrProtection,
	spec.StatusAppTagCheck:            ErrProtection,
	spec.StatusRefTagCheck:            ErrProtection,
	spec.StatusStorageTagCheck:        ErrProtection,
	spec.StatusWriteFault:             ErrMedia,
	spec.StatusUnrecoveredRead:        ErrMedia,
	spec.StatusUnrecovered:            ErrMedia,
	spec.StatusDeallocatedBlock:       ErrMedia,
	spec.StatusZoneBoundary:           ErrZone,
	spec.StatusZoneFull:               ErrZone,
	spec.StatusZoneReadOnly:           ErrZone,
	spec.StatusZoneOffline:            ErrZone,
	spec.StatusZoneInvalidWrite:       ErrZone,
	spec.StatusZoneTooManyActive:      ErrZone,
	spec.StatusZoneTooManyOpen:        ErrZone,
	spec.StatusZoneInvalidTransition:  ErrZone,
}

// retryable tells whether a command with this status deserves another try: the controller said that the cause passes
// (base 2.0, section 4.2.3; SPDK nvme_completion_is_retry retries the first three).
func retryable(s spec.Status) bool {
	if s.DNR() {
		return false
	}
	switch s.Code() {
	case spec.StatusNamespaceNotReady, spec.StatusFormatInProgress, spec.StatusInternalPathError,
		spec.StatusCommandInterrupted, spec.StatusTransientTransport, spec.StatusAdminMediaNotReady,
		spec.StatusDataTransferError, spec.StatusANATransition, spec.StatusControllerPathError:
		return true
	}
	return false
}

// joinErrors keeps the first error and adds the second.
func joinErrors(first, second error) error {
	if first == nil || second == nil {
		return errors.Join(first, second)
	}
	return fmt.Errorf("%w (and then %w)", first, second)
}
