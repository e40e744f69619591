package nvme

import "errors"

// Sentinels of the transports. Errors of this package and the transports wrap one of the package's sentinels.
var (
	ErrGone         = errors.New("controller is gone")                           // hot removal, a peer that died, use after Close
	ErrUnsupported  = errors.New("not supported by the controller")              // or by the transport
	ErrNotShareable = errors.New("memory cannot be shared with this controller") // Transport.Map
)
