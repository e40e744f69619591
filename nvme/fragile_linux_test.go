package nvme_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/softctrl"
	"github.com/blobkv/blobkv/nvme/spec"
)

// fragile is a transport with the doorbells of I/O queues in a file.
type fragile struct {
	*softctrl.Transport
	doorbells []byte
}

func (f *fragile) Fragile() bool { return true }

func (f *fragile) Window(offset uint32, size int) []byte {
	if offset < spec.SubmissionDoorbell(1, 0) {
		return nil
	}
	return f.doorbells[offset-spec.RegDoorbells:][:size]
}

// TestDoorbellsTakenAway: whoever cuts the file short does not end this process; the controller is gone.
func TestDoorbellsTakenAway(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "doorbells"))
	require.NoError(t, err)
	require.NoError(t, file.Truncate(4096))
	soft, err := softctrl.NewTransport(softctrl.Config{Namespaces: []softctrl.NamespaceConfig{{Storage: ram(t, 1<<20, false)}}},
		softctrl.TransportOptions{})
	require.NoError(t, err)
	tr := &fragile{Transport: soft}
	tr.doorbells, err = unix.Mmap(int(file.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(tr.doorbells)) }()
	c, err := nvme.Open(tr, nvme.Options{})
	require.NoError(t, err)
	q, err := c.OpenQueue(nvme.QueueOptions{})
	require.NoError(t, err)
	ns, err := c.Namespace(1)
	require.NoError(t, err)

	require.Equal(t, 1, q.Submit([]*nvme.Request{{Op: nvme.OpFlush, NS: ns}}))
	require.EqualValues(t, 1, tr.doorbells[spec.SubmissionDoorbell(1, 0)-spec.RegDoorbells], "it does not come by this doorbell")
	require.NoError(t, file.Truncate(0))
	require.Equal(t, 1, q.Submit([]*nvme.Request{{Op: nvme.OpFlush, NS: ns}}))
	var done [2]*nvme.Request
	n := 0
	for end := time.Now().Add(20 * time.Second); n < 2 && time.Now().Before(end); {
		_ = c.Poll() // what is wrong, the requests say
		n += q.Poll(done[n:])
	}
	require.Equal(t, 2, n)
	for _, r := range done {
		require.ErrorIs(t, r.Err, nvme.ErrGone)
		require.ErrorContains(t, r.Err, "doorbells")
	}
	require.NoError(t, file.Close())
	require.NoError(t, c.Close())
}
