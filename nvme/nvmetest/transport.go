package nvmetest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
)

// Env is what a transport's tests hand over.
type Env struct {
	// Open opens the controller; the suite closes it before it opens it again.
	Open func(t *testing.T) nvme.Transport
	// Pages is memory that may be mapped, whole pages, four at least; nil where the transport maps none of the caller's.
	Pages func(t *testing.T) []byte
	// Eventfd makes an eventfd; Signalled takes what it counted, waiting a while for the first if asked to. nil where there
	// are no interrupts.
	Eventfd   func(t *testing.T) int
	Signalled func(t *testing.T, fd int, wait bool) bool
}

// Transport runs the tests that every transport passes.
func Transport(t *testing.T, env Env) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, env Env, tr nvme.Transport)
	}{
		{"Registers", registers}, {"Alloc", alloc}, {"Identify", identify}, {"Map", mapCaller}, {"Interrupt", interrupt}, {"Reset", reset},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := env.Open(t)
			c.test(t, env, tr)
			require.NoError(t, tr.Store32(regCC, 0))
			closed(t, tr)
		})
	}
}

// closed closes a transport and checks that it is unusable then.
func closed(t *testing.T, tr nvme.Transport) {
	t.Helper()
	require.NoError(t, tr.Close())
	_, err := tr.Load32(regVS)
	require.ErrorIs(t, err, nvme.ErrGone)
	require.ErrorIs(t, tr.Store64(regASQ, 0), nvme.ErrGone)
	_, err = tr.Alloc(4096)
	require.ErrorIs(t, err, nvme.ErrGone)
}

// registers reads and writes both widths.
func registers(t *testing.T, _ Env, tr nvme.Transport) {
	require.NotEmpty(t, tr.Name())
	capability, err := tr.Load64(regCAP)
	require.NoError(t, err)
	low, err := tr.Load32(regCAP)
	require.NoError(t, err)
	high, err := tr.Load32(regCAP + 4)
	require.NoError(t, err)
	require.Equal(t, capability, uint64(high)<<32|uint64(low))
	require.NotZero(t, capability&0xffff, "queues of one entry")
	vs, err := tr.Load32(regVS)
	require.NoError(t, err)
	require.GreaterOrEqual(t, vs, uint32(0x10000), "NVMe 1.0 at least")
	require.NoError(t, tr.Store64(regASQ, 0x123456789000))
	asq, err := tr.Load64(regASQ)
	require.NoError(t, err)
	require.EqualValues(t, 0x123456789000, asq)
	require.NoError(t, tr.Store32(regASQ, 0))
	asq, err = tr.Load64(regASQ)
	require.NoError(t, err)
	require.EqualValues(t, 0x123400000000, asq)
}

// alloc wants memory that is zeroed, distinct and given back.
func alloc(t *testing.T, _ Env, tr nvme.Transport) {
	seen := map[uint64]bool{}
	var all []nvme.DMA
	for _, size := range []int{1, 64, 4096, 4097, 1 << 20, 3 << 20} {
		m, err := tr.Alloc(size)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(m.Bytes), size)
		require.Zero(t, m.IOVA%4096)
		require.False(t, seen[m.IOVA])
		require.Equal(t, make([]byte, len(m.Bytes)), m.Bytes)
		seen[m.IOVA] = true
		for i := range m.Bytes {
			m.Bytes[i] = 0xa5
		}
		all = append(all, m)
	}
	for _, m := range all {
		require.NoError(t, tr.Free(m))
	}
	for range 50 { // addresses come back
		m, err := tr.Alloc(1 << 20)
		require.NoError(t, err)
		require.Zero(t, m.Bytes[len(m.Bytes)-1])
		require.NoError(t, tr.Free(m))
	}
}

// identify lets the controller read a command and write an answer, around the queue's end.
func identify(t *testing.T, _ Env, tr nvme.Transport) {
	a := newAdmin(t, tr)
	var first []byte
	for range 3 * entries {
		m := a.alloc(identifyBytes)
		a.identify(m.IOVA)
		require.Zero(t, a.wait())
		require.NotZero(t, m.Bytes[4], "serial number")
		if first == nil {
			first = bytes.Clone(m.Bytes)
		}
		require.Equal(t, first, m.Bytes)
		require.NoError(t, tr.Free(m))
	}
}

// mapCaller lets the controller write to memory of the caller.
func mapCaller(t *testing.T, env Env, tr nvme.Transport) {
	if env.Pages == nil {
		t.Skip("no memory of the caller's")
	}
	pages := env.Pages(t)
	iova, err := tr.Map(pages)
	require.NoError(t, err)
	a := newAdmin(t, tr)
	last := len(pages) - identifyBytes
	a.identify(iova + uint64(last))
	require.Zero(t, a.wait())
	require.NotZero(t, pages[last+4], "serial number")
	require.Equal(t, make([]byte, last), pages[:last], "written beside the answer")
	a.disable()
	require.NoError(t, tr.Unmap(pages))
	require.Error(t, tr.Unmap(pages), "twice")
	_, err = tr.Map(pages[1:])
	require.ErrorIs(t, err, nvme.ErrNotShareable)
}

// interrupt waits for a completion by its vector.
func interrupt(t *testing.T, env Env, tr nvme.Transport) {
	if env.Eventfd == nil || tr.Vectors() == 0 {
		t.Skip("no interrupts")
	}
	require.Error(t, tr.Interrupt(tr.Vectors(), env.Eventfd(t)))
	fd := env.Eventfd(t)
	require.NoError(t, tr.Interrupt(0, fd))
	a := newAdmin(t, tr)
	m := a.alloc(identifyBytes)
	for range 3 {
		a.identify(m.IOVA)
		require.True(t, env.Signalled(t, fd, true))
		require.Zero(t, a.wait())
	}
	if k, ok := tr.(nvme.Masker); ok && k.Masks() {
		require.NoError(t, k.Mask(0, true))
		a.identify(m.IOVA)
		require.Zero(t, a.wait())
		require.False(t, env.Signalled(t, fd, false), "masked")
		require.NoError(t, k.Mask(0, false))
		require.True(t, env.Signalled(t, fd, true), "held back until now")
		require.Error(t, k.Mask(tr.Vectors(), true))
	}
	require.NoError(t, tr.Interrupt(0, -1))
	a.identify(m.IOVA)
	require.Zero(t, a.wait())
	require.False(t, env.Signalled(t, fd, false), "switched off")
}

// reset resets the function while many read its registers, and starts it anew.
func reset(t *testing.T, _ Env, tr nvme.Transport) {
	a := newAdmin(t, tr)
	m := a.alloc(identifyBytes)
	a.identify(m.IOVA)
	err := tr.Reset()
	if err != nil {
		require.ErrorIs(t, err, nvme.ErrUnsupported)
		t.Skip("no function level reset")
	}
	cc, err := tr.Load32(regCC)
	require.NoError(t, err)
	require.Zero(t, cc&1, "still enabled after a reset")
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for range 50 {
				if _, err := tr.Load32(regVS); err != nil {
					t.Errorf("reading while the function is reset: %v", err)
				}
			}
		})
	}
	require.NoError(t, tr.Reset())
	readers.Wait()
	b := newAdmin(t, tr)
	b.identify(m.IOVA)
	require.Zero(t, b.wait())
	require.NotZero(t, m.Bytes[4])
}
