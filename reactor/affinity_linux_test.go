package reactor_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/reactor"
)

func allowedCPU(t *testing.T) int {
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &set))
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			return cpu
		}
	}
	t.Fatal("no CPU allowed")
	return 0
}

func TestPinned(t *testing.T) {
	cpu := allowedCPU(t)
	r, err := reactor.Start(reactor.Options{CPUs: []int{cpu}})
	require.NoError(t, err)
	var set unix.CPUSet
	call(t, r, func() { err = unix.SchedGetaffinity(0, &set) })
	r.Stop()
	require.NoError(t, err)
	require.Equal(t, 1, set.Count())
	require.True(t, set.IsSet(cpu))
}

func TestPinRefused(t *testing.T) {
	for _, cpu := range []int{-1, 1023, 1 << 30} {
		_, err := reactor.Start(reactor.Options{CPUs: []int{cpu}})
		require.ErrorIs(t, err, reactor.ErrPin, "CPU %d", cpu)
	}
}
