package aiobdev

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/bdev"
)

const (
	testSize  = 8 << 20
	testBlock = 4096
)

// newImage opens a new image of testSize bytes.
func newImage(t *testing.T, o Options) *Backend {
	t.Helper()
	o.Create = true
	if o.Size == 0 {
		o.Size = testSize
	}
	return openImage(t, filepath.Join(t.TempDir(), "image"), o)
}

func openImage(t *testing.T, path string, o Options) *Backend {
	t.Helper()
	b, err := Open(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { b.Close() })
	return b
}

func openQueue(t *testing.T, b *Backend) *queue {
	t.Helper()
	q, err := newQueue(b)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	return q
}

// alignedBuffer returns memory that every device takes.
func alignedBuffer(t *testing.T, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

// randomBuffer returns aligned memory with content that a failure can be repeated with.
func randomBuffer(t *testing.T, n int, seed uint64) []byte {
	t.Helper()
	b := alignedBuffer(t, n)
	fillRandom(b, seed)
	return b
}

func fillRandom(b []byte, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
}

func transfer(op bdev.Op, offset int64, buf []byte) *bdev.Request {
	return &bdev.Request{Op: op, Offset: offset, Buf: buf}
}

// runAll submits requests and polls until all are done.
func runAll(t *testing.T, q *queue, rs ...*bdev.Request) {
	t.Helper()
	polled := 0
	for rest := rs; len(rest) > 0; {
		rest = rest[q.Submit(rest):]
		polled += q.Poll(len(rs))
	}
	for deadline := time.Now().Add(20 * time.Second); !allDone(rs); polled += q.Poll(len(rs)) {
		require.True(t, time.Now().Before(deadline), "requests are lost: %d of %d polled", polled, len(rs))
		q.Wait(time.Second)
	}
}

func allDone(rs []*bdev.Request) bool {
	for _, r := range rs {
		if !r.Done() {
			return false
		}
	}
	return true
}

// do runs one request and requires its success.
func do(t *testing.T, q *queue, op bdev.Op, offset int64, buf []byte) {
	t.Helper()
	r := transfer(op, offset, buf)
	runAll(t, q, r)
	require.NoError(t, r.Err())
}

// execute runs one blocking operation.
func execute(b *Backend, op bdev.Op, offset, length int64) error {
	return b.Execute(&bdev.Request{Op: op, Offset: offset, Length: length})
}

// hostBytes is the space the image takes on its file system.
func hostBytes(t *testing.T, b *Backend) int64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(b.fd, &st))
	return st.Blocks * 512
}
