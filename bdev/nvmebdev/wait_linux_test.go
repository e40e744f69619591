package nvmebdev

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// masks counts what is masked and unmasked.
type masks struct {
	*softctrl.Transport
	list []bool
}

func (m *masks) Mask(vector int, masked bool) error {
	m.list = append(m.list, masked)
	return m.Transport.Mask(vector, masked)
}

// TestMasking: a poller that spins is interrupted only while it sleeps, one that always sleeps is never masked.
func TestMasking(t *testing.T) {
	for policy, want := range map[bdev.Policy][]bool{
		bdev.PolicyAdaptive: {true, false, true},
		bdev.PolicySleep:    nil,
	} {
		t.Run(policy.String(), func(t *testing.T) {
			ram, err := softctrl.NewRAM(rigSize, false)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, ram.Free()) })
			tr, err := softctrl.NewTransport(softctrl.Config{Vectors: 4, Namespaces: []softctrl.NamespaceConfig{{Storage: ram}}}, softctrl.TransportOptions{})
			require.NoError(t, err)
			m := &masks{Transport: tr}
			b, err := New(m, Config{Policy: policy})
			require.NoError(t, err)
			b.o.kind = kindPCI
			q, w, err := b.openQueue()
			require.NoError(t, err)
			flush := func() { require.NoError(t, q.Do(&nvme.Request{Op: nvme.OpFlush, NS: b.ns})) }
			flush()
			w.found(q)
			require.Equal(t, want[:min(len(want), 1)], m.list, "masked since it was opened")
			flush()
			w.sleep(q, rigIOTimeout) // ended by what was held back
			w.sleep(q, 0)
			w.found(q)
			w.found(q)
			require.Equal(t, want, m.list)
			require.NoError(t, q.Close())
			require.NoError(t, w.close())
			require.NoError(t, b.Close())
		})
	}
}

// TestWantsInterrupt: who always sleeps is woken wherever an interrupt can come from, who mostly spins where one is cheap.
func TestWantsInterrupt(t *testing.T) {
	for policy, want := range map[bdev.Policy]map[kind]bool{
		bdev.PolicyPoll:     {},
		bdev.PolicySleep:    {kindPCI: true, kindSocket: true},
		bdev.PolicyAdaptive: {kindPCI: true},
	} {
		for _, k := range []kind{kindPCI, kindSocket, kindInline} {
			b := &Backend{policy: policy, o: &owner{kind: k}}
			require.Equal(t, want[k], b.wantsInterrupt(), "%v, kind %d", policy, k)
		}
	}
	s := serve(t, softctrl.Config{})
	b, err := Open(s.name, Config{})
	require.NoError(t, err)
	require.Equal(t, kindSocket, b.o.kind)
	require.NoError(t, b.Close())
}

// unwilling sets no interrupt up.
type unwilling struct {
	*softctrl.Transport
	says error
}

func (u *unwilling) Interrupt(vector, eventfd int) error {
	if vector > 0 && eventfd >= 0 {
		return u.says
	}
	return u.Transport.Interrupt(vector, eventfd)
}

// TestInterruptRefused: a queue does without where there is none, and is not opened where something else is wrong.
func TestInterruptRefused(t *testing.T) {
	for _, says := range []error{nvme.ErrUnsupported, errKept} {
		ram, err := softctrl.NewRAM(rigSize, false)
		require.NoError(t, err)
		tr, err := softctrl.NewTransport(softctrl.Config{Vectors: 4, Namespaces: []softctrl.NamespaceConfig{{Storage: ram}}}, softctrl.TransportOptions{})
		require.NoError(t, err)
		b, err := New(&unwilling{tr, says}, Config{Policy: bdev.PolicySleep})
		require.NoError(t, err)
		b.o.kind = kindPCI
		q, err := b.NewQueue()
		if says == errKept {
			require.ErrorIs(t, err, errKept)
			require.ErrorIs(t, err, bdev.ErrIO)
		} else {
			require.NoError(t, err)
			require.False(t, q.(*queue).wait.event.is())
			require.NoError(t, q.Close())
		}
		require.NoError(t, b.Close())
		require.NoError(t, ram.Free())
	}
}
