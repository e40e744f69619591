package vfsadapter

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testLog writes a log as Pebble does.
type testLog struct {
	num    uint32
	b      []byte
	synced int64
	ends   []int64 // of records
	offs   []int64 // of chunks
}

// record appends one. Format: recyclableFull or syncedFull.
func (l *testLog) record(payload []byte, format byte) {
	header := recyclableHeader
	if format == syncedFull {
		header = syncedHeader
	}
	for first := true; ; first = false {
		room := logBlockSize - len(l.b)%logBlockSize - header
		part := payload[:min(len(payload), room)]
		payload = payload[len(part):]
		position := byte(chunkMiddle)
		switch last := len(payload) == 0; {
		case first && last:
			position = chunkFull
		case first:
			position = chunkFirst
		case last:
			position = chunkLast
		}
		l.chunk(part, format, position, header)
		if left := logBlockSize - len(l.b)%logBlockSize; left < header {
			l.b = append(l.b, make([]byte, left)...)
		}
		if len(payload) == 0 {
			l.ends = append(l.ends, l.offs[len(l.offs)-1]+int64(header+len(part)))
			return
		}
	}
}

func (l *testLog) chunk(part []byte, format, position byte, header int) {
	l.offs = append(l.offs, int64(len(l.b)))
	c := make([]byte, header, header+len(part))
	binary.LittleEndian.PutUint16(c[4:], uint16(len(part)))
	c[6] = format + position
	binary.LittleEndian.PutUint32(c[7:], l.num)
	if format == syncedFull {
		binary.LittleEndian.PutUint64(c[recyclableHeader:], uint64(l.synced))
	}
	c = append(c, part...)
	binary.LittleEndian.PutUint32(c, logChecksum(c[6:]))
	l.b = append(l.b, c...)
}

func (l *testLog) sync() { l.synced = int64(len(l.b)) }

func (l *testLog) close() {
	l.b = append(l.b, 0, 0, 0, 0, 0, 0, recyclableFull)
	l.b = binary.LittleEndian.AppendUint32(l.b, l.num+1)
}

// randomLog has n records, most of them small, and syncs between them.
func randomLog(rng *rand.Rand, num uint32, n int) *testLog {
	l := &testLog{num: num}
	for range n {
		size := rng.IntN(300)
		if rng.IntN(40) == 0 {
			size = rng.IntN(3 * logBlockSize)
		}
		noise := binary.LittleEndian.AppendUint64(nil, rng.Uint64())
		l.record(bytes.Repeat(noise, size/len(noise)+1)[:size], syncedFull)
		if rng.IntN(4) == 0 {
			l.sync()
		}
	}
	return l
}

func logSeed(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func scan(t *testing.T, b []byte, num uint32) logScan {
	t.Helper()
	s, err := scanLog(bytes.NewReader(b), num)
	require.NoError(t, err)
	require.LessOrEqual(t, s.end, s.stop)
	require.LessOrEqual(t, s.stop, int64(len(b)))
	return s
}

// TestScanWholeLogs reads logs that are as they were written, closed or not, fresh or over a longer one.
func TestScanWholeLogs(t *testing.T) {
	rng := logSeed(t)
	for range 50 {
		l := randomLog(rng, rng.Uint32(), 1+rng.IntN(500))
		end := l.ends[len(l.ends)-1]
		s := scan(t, l.b, l.num)
		require.Equal(t, end, s.end)
		require.False(t, s.closed)
		require.Equal(t, int64(-1), s.proof)

		l.close()
		old := randomLog(rng, l.num-3, 500)
		for _, b := range [][]byte{l.b, append(slices.Clone(l.b), old.b[min(len(old.b), len(l.b)):]...)} {
			s = scan(t, b, l.num)
			require.Equal(t, end, s.end)
			require.True(t, s.closed)
		}
	}
	for _, payload := range []int{0, 1, logBlockSize - recyclableHeader, 2 * logBlockSize} {
		l := &testLog{num: 5}
		l.record(make([]byte, payload), recyclableFull)
		l.record([]byte("x"), recyclableFull)
		require.Equal(t, l.ends[1], scan(t, l.b, 5).end)
	}
	require.Equal(t, logScan{proof: -1}, scan(t, nil, 1))
}

// TestScanDamage flips bits of records that a later record says were durable. Each is found, in the block of that record too
// and also one that turns a header into what Pebble takes for a trailer.
func TestScanDamage(t *testing.T) {
	rng := logSeed(t)
	for range 300 {
		l := randomLog(rng, rng.Uint32(), 2+rng.IntN(200))
		l.sync()
		l.record([]byte("the last one"), syncedFull)
		if rng.IntN(2) == 0 {
			l.close()
		}
		i := rng.IntN(len(l.offs) - 1)
		at := l.offs[i] + rng.Int64N(min(l.offs[i+1]-l.offs[i], syncedHeader+1))
		if at >= l.ends[len(l.ends)-2] {
			continue // in the zeros before a block's end
		}
		l.b[at] ^= 1 << rng.IntN(8)
		s := scan(t, l.b, l.num)
		require.LessOrEqual(t, s.stop, at)
		require.False(t, s.closed)
		require.Positive(t, s.proof, "byte %d of %d flipped, in the chunk at %d; last sync at %d", at, len(l.b), l.offs[i], l.synced)
	}
}

// TestScanTornTail leaves what a crash can: of what was not synced any sectors, over what was there before. Up to the sync
// all is found, and nothing is called damage.
func TestScanTornTail(t *testing.T) {
	rng := logSeed(t)
	const sector = 512
	for range 300 {
		l := randomLog(rng, rng.Uint32(), 1+rng.IntN(300))
		l.sync()
		durable, records := len(l.b), len(l.ends)
		for range rng.IntN(30) { // not synced
			l.record(bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(2000)), syncedFull)
		}
		if rng.IntN(3) == 0 {
			l.close()
		}
		disk := randomLog(rng, l.num-1-rng.Uint32N(4), 400).b // the log's former life
		if rng.IntN(3) == 0 {
			disk = disk[:0]
		}
		disk = append(disk, make([]byte, max(0, len(l.b)-len(disk)))...)
		copy(disk, l.b[:durable])
		for at := durable - durable%sector; at < len(l.b); at += sector {
			if lo, hi := max(at, durable), min(at+sector, len(l.b)); lo < hi && rng.IntN(3) > 0 {
				copy(disk[lo:hi], l.b[lo:hi])
			}
		}
		if rng.IntN(3) == 0 {
			disk = disk[:durable+rng.IntN(len(disk)-durable+1)]
		}
		s := scan(t, disk, l.num)
		require.GreaterOrEqual(t, s.end, l.ends[records-1])
		require.Equal(t, int64(-1), s.proof)
	}
}

// TestScanLooksIntoNoValue has the torn record hold a piece of a log that has the same number and promises.
func TestScanLooksIntoNoValue(t *testing.T) {
	inner := randomLog(rand.New(rand.NewPCG(1, 1)), 9, 100)
	l := &testLog{num: 9}
	l.record([]byte("before"), syncedFull)
	inner.synced = int64(len(l.b)) + 1
	inner.b = nil
	for range 10 {
		inner.record([]byte("inside"), syncedFull)
	}
	l.record(inner.b, syncedFull)
	whole := int64(len(l.b))
	require.Equal(t, whole, scan(t, l.b, 9).end)
	l.b[len(l.b)-1] ^= 1 // torn
	s := scan(t, l.b, 9)
	require.Equal(t, l.ends[0], s.end)
	require.Equal(t, int64(-1), s.proof)
}

func FuzzScanLog(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	l := randomLog(rng, 7, 20)
	f.Add(l.b)
	l.close()
	f.Add(l.b)
	f.Add([]byte{0, 0, 0, 0, 0, 0, recyclableFull, 8, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scan(t, b, 7)
		require.Less(t, s.proof, int64(len(b)))
		require.True(t, s.proof < 0 || s.proof > s.stop)
	})
}
