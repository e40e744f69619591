package nvme_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// TestFewerQueuesAfterReset: queues that are not granted any more fail with their requests, the others go on; they come back with
// the reset that grants them again.
func TestFewerQueuesAfterReset(t *testing.T) {
	granted, counts := uint16(2), false
	s := setup{}
	s.cfg.Observe = func(sqid uint16, cmd spec.Command) {
		counts = sqid == 0 && cmd.Opcode == spec.AdminSetFeatures && cmd.CDW10 == spec.FeatQueues
	}
	s.cfg.MangleCompletion = func(_ uint16, entry []byte) {
		if counts { // the entry is the answer to it
			entry[0], entry[2] = byte(granted-1), byte(granted-1)
		}
	}
	r := faultRig(t, s)
	second, err := r.c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	r.soft.Inject(softctrl.Fault{Opcode: spec.CmdRead, Do: softctrl.Hang, Times: 2})
	first := r.start(1, nvme.OpRead)
	lost := &nvme.Request{Op: nvme.OpRead, NS: r.ns, Buf: r.buf(blockSize, nil)}
	require.Equal(t, 1, second.Submit([]*nvme.Request{lost}))

	granted = 1
	require.NoError(t, r.c.Reset())
	require.Equal(t, 1, r.c.MaxQueues())
	r.finish(first)
	require.NoError(t, first[0].Err)
	require.Equal(t, 1, second.Poll(make([]*nvme.Request, 1)))
	require.ErrorIs(t, lost.Err, nvme.ErrNoQueues)
	flush := nvme.Request{Op: nvme.OpFlush, NS: r.ns}
	require.ErrorIs(t, second.Do(&flush), nvme.ErrNoQueues)
	_, err = r.c.OpenQueue(nvme.QueueOptions{})
	require.ErrorIs(t, err, nvme.ErrNoQueues)
	r.works()

	granted = 2
	require.NoError(t, r.c.Reset())
	require.NoError(t, second.Do(&flush))
	require.NoError(t, second.Close())
}

// TestResetFindsAnother: a controller that is another one after a reset gets nothing of what was meant for the first; when that
// is back, it works again.
func TestResetFindsAnother(t *testing.T) {
	model := func(b []byte) { b[idModel]++ }
	register := func(reg uint32) func(uint32, uint64) uint64 {
		return func(offset uint32, v uint64) uint64 {
			if offset == reg {
				v ^= 1 << 10 // MQES, or a minor version
			}
			return v
		}
	}
	same := func(_ uint32, v uint64) uint64 { return v }
	for _, c := range []struct {
		name string
		lie  func(page []byte)
		load func(offset uint32, v uint64) uint64
	}{
		{"serial number", func(b []byte) { b[4]++ }, same}, {"model", model, same}, {"CAP", nil, register(spec.RegCAP)}, {"VS", nil, register(spec.RegVS)},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := false
			lie := lying(spec.CNSController, 0, func(b []byte) {
				if other && c.lie != nil {
					c.lie(b)
				}
			})
			h := &hooked{load: func(offset uint32, v uint64) uint64 {
				if other {
					return c.load(offset, v)
				}
				return v
			}}
			ctrl, _, err := openHooked(t, softctrl.Config{MangleIdentify: lie}, h)
			require.NoError(t, err)
			q, err := ctrl.OpenQueue(nvme.QueueOptions{})
			require.NoError(t, err)
			buf, err := ctrl.Alloc(4096)
			require.NoError(t, err)
			buf[0] = 1
			h.Controller().Inject(softctrl.Fault{Opcode: spec.CmdWrite, Do: softctrl.Hang})
			ns := ctrl.Namespaces()[0]
			write := &nvme.Request{Op: nvme.OpWrite, NS: ns, Buf: buf[:blockSize]}
			require.Equal(t, 1, q.Submit([]*nvme.Request{write}))

			other = true
			err = ctrl.Reset()
			require.ErrorIs(t, err, nvme.ErrFailed)
			require.ErrorIs(t, err, nvme.ErrProtocol)
			require.Equal(t, 1, q.Poll(make([]*nvme.Request, 1)))
			require.ErrorIs(t, write.Err, nvme.ErrFailed)
			require.ErrorIs(t, q.Do(&nvme.Request{Op: nvme.OpFlush, NS: ns}), nvme.ErrFailed)

			other = false
			require.NoError(t, ctrl.Reset())
			read := nvme.Request{Op: nvme.OpRead, NS: ns, Buf: buf[:blockSize]}
			require.NoError(t, q.Do(&read))
			require.Zero(t, buf[0], "the write was not sent to the other one")
			require.NoError(t, ctrl.Close())
		})
	}
}
