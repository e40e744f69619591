package nvmetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
)

// Load keeps the controller busy with DMA, calling each after every command, until the transport fails, and returns that
// error. The test fails when the controller goes silent without one.
func Load(t *testing.T, tr nvme.Transport, each func()) error {
	a := newAdmin(t, tr)
	m := a.alloc(identifyBytes)
	for end := time.Now().Add(2 * waitLimit); time.Now().Before(end); {
		a.identify(m.IOVA)
		for !a.done() {
			if _, err := tr.Load32(regCSTS); err != nil {
				return err
			}
			require.True(t, time.Now().Before(end), "no completion, and no error either")
		}
		if err := a.take(); err != nil {
			return err
		}
		each()
	}
	t.Fatal("the controller never went away")
	return nil
}

// Busy keeps the controller busy for as long as the process lives, at most a minute; started is called once it is.
func Busy(t *testing.T, tr nvme.Transport, started func()) {
	n := 0
	err := Load(t, tr, func() {
		if n++; n == entries {
			started()
		}
	})
	require.NoError(t, err)
}
