//go:build !linux

package nvmebdev

import (
	"fmt"
	"time"

	"github.com/blobkv/blobkv/nvme"
)

// eventfd is a matter of Linux.
type eventfd int

const noEvent eventfd = 0

func newEventFD() (eventfd, error) { return noEvent, fmt.Errorf("eventfd: %w", nvme.ErrUnsupported) }

func (eventfd) is() bool           { return false }
func (eventfd) fd() int            { return 0 }
func (eventfd) wait(time.Duration) {}
func (eventfd) close() error       { return nil }
