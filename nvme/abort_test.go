package nvme_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// stalled is a transport whose registers do not answer until it is aborted.
type stalled struct {
	*softctrl.Transport
	asked, aborted chan struct{}
	once, over     sync.Once
	cause          error // set before aborted is closed
}

func (s *stalled) Load64(uint32) (uint64, error) {
	s.once.Do(func() { close(s.asked) })
	<-s.aborted
	return 0, fmt.Errorf("%w: %w", nvme.ErrGone, s.cause)
}

func (s *stalled) Abort(cause error) {
	s.over.Do(func() {
		s.cause = cause
		close(s.aborted)
	})
}

// TestOpenIsBounded opens somebody else's process, which waits longer than it is given.
func TestOpenIsBounded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tr, err := softctrl.NewTransport(softctrl.Config{}, softctrl.TransportOptions{})
	require.NoError(t, err)
	s := &stalled{Transport: tr, asked: make(chan struct{}), aborted: make(chan struct{})}
	_, err = nvme.Open(s, nvme.Options{Context: ctx, AdminTimeout: time.Millisecond})
	require.ErrorIs(t, err, nvme.ErrTimeout)
	require.ErrorIs(t, err, nvme.ErrGone)
	require.Zero(t, tr.Mappings())
}

// TestOpenIsGivenUp ends the context of Open while a register is waited for, and between two looks at the controller. Nothing is
// left, and the context of one that is open means nothing.
func TestOpenIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	tr, err := softctrl.NewTransport(softctrl.Config{}, softctrl.TransportOptions{})
	require.NoError(t, err)
	s := &stalled{Transport: tr, asked: make(chan struct{}), aborted: make(chan struct{})}
	go func() { <-s.asked; cancel() }()
	_, err = nvme.Open(s, nvme.Options{Context: ctx})
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, tr.Mappings())

	_, err = tryRig(t, setup{o: nvme.Options{Context: ctx}})
	require.ErrorIs(t, err, context.Canceled)

	ctx, cancel = context.WithCancel(t.Context())
	r := newRig(t, setup{o: nvme.Options{Context: ctx}})
	cancel()
	require.NoError(t, r.c.Reset())
}
