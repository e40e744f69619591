package nvmebdev

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/nvme/softctrl"
)

// rig is a device on a software controller that the test can break.
type rig struct {
	d    *bdev.Device
	b    *Backend
	tr   *softctrl.Transport
	soft *softctrl.Controller
	ram  *softctrl.RAM
}

const rigSize = 16 << 20

// Timeouts of a rig: a lost command is known soon.
const (
	rigIOTimeout    = 40 * time.Millisecond
	rigAbortTimeout = 40 * time.Millisecond
)

// newRig opens a device on a controller with one namespace in RAM, unless the configuration has one with storage.
func newRig(t testing.TB, sc softctrl.Config, c Config) *rig {
	t.Helper()
	return newRigOn(t, sc, softctrl.TransportOptions{}, c)
}

func newRigOn(t testing.TB, sc softctrl.Config, o softctrl.TransportOptions, c Config) *rig {
	t.Helper()
	if len(sc.Namespaces) == 0 {
		sc.Namespaces = []softctrl.NamespaceConfig{{BlockSize: 4096}}
	}
	r := &rig{}
	if n := &sc.Namespaces[0]; n.Storage == nil {
		ram, err := softctrl.NewRAM(rigSize, sc.WriteCache)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, ram.Free()) })
		sc.Namespaces = append([]softctrl.NamespaceConfig(nil), sc.Namespaces...)
		sc.Namespaces[0].Storage = ram
		r.ram = ram
	}
	var err error
	r.tr, err = softctrl.NewTransport(sc, o)
	require.NoError(t, err)
	r.soft = r.tr.Controller()
	r.b, err = New(r.tr, c)
	require.NoError(t, err)
	r.d, err = bdev.New("nvme:test", r.b, bdev.Options{Policy: c.Policy})
	require.NoError(t, err)
	r.b.OnResize(r.d.Resized)
	t.Cleanup(func() {
		if err := r.d.Close(); err != nil {
			require.ErrorIs(t, err, bdev.ErrClosed)
		}
		require.Zero(t, r.tr.Mappings(), "memory is left after Close")
	})
	return r
}

// fast are short timeouts.
func fast() Config {
	return Config{IOTimeout: rigIOTimeout, AbortTimeout: rigAbortTimeout, AdminTimeout: time.Second}
}
