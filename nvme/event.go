package nvme

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// EventKind is what an Event reports.
type EventKind uint8

// The kinds of events.
const (
	EventNamespaceAttached EventKind = iota // NSID is usable now
	EventNamespaceDetached                  // requests to NSID fail with ErrNoNamespace from now on
	EventNamespaceChanged                   // size, format or protection of NSID differ: look at Namespace.Info
	EventHealth                             // a SMART threshold was crossed: read the log
	EventError                              // the controller reports an error: read the log
	EventFirmware                           // new firmware is being activated: commands may take long
	EventResetting                          // a reset begins; Err says why
	EventReset                              // the reset is done, the controller works again
	EventFailed                             // the controller does not work; Err says why, nothing but Reset and Close helps
	EventOther                              // Raw has it
)

var eventNames = [...]string{"namespace attached", "namespace detached", "namespace changed", "health", "error",
	"firmware activation", "resetting", "reset done", "controller failed", "other event"}

// String is the kind in words.
func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is something that happened to a controller.
type Event struct {
	Kind EventKind
	NSID uint32
	Raw  spec.AsyncEvent // as the controller sent it
	Err  error
}
