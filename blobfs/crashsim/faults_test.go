package crashsim

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/blobkv/blobkv/internal/dmabuf"
)

// TestFailEveryIO fails the operations of the device one by one: errors reach those who wrote, nothing hangs or leaks,
// nothing that was acknowledged is lost, and the store is sound once the device works again.
func TestFailEveryIO(t *testing.T) {
	seed := seedOf(t)
	stride := 1
	if few(10) == 1 {
		stride = 17
	}
	for _, w := range Workloads {
		t.Run(w.Name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			before := heldMemory()
			done, err := FailEvery(t.Context(), w, stride, Options{Seed: seed})
			require.NoError(t, err)
			require.Equal(t, before, heldMemory(), "memory was not given back")
			t.Logf("fail every I/O, %s: %v", w.Name, done)
		})
	}
}

// heldMemory is what all pools hold but for what is kept for the next user.
func heldMemory() int64 {
	dmabuf.Default.Trim()
	return dmabuf.Held()
}
