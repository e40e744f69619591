package vfiouser

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/nvme"
)

var (
	// ErrInUse is returned by Open when another client has the controller, by Listen when another server has the folder.
	ErrInUse = errors.New("in use")
	// ErrPermission is returned by Open when this user may not connect to the socket.
	ErrPermission = errors.New("permission denied")
	// ErrProtocol says that the peer does not keep to the protocol. The connection has ended, so it comes with nvme.ErrGone.
	ErrProtocol = errors.New("vfio-user protocol violation")
)

// goneError is the end of a connection: it is nvme.ErrGone and its cause.
func goneError(cause error) error {
	if errors.Is(cause, nvme.ErrGone) {
		return cause
	}
	return fmt.Errorf("%w: %w", nvme.ErrGone, cause)
}
