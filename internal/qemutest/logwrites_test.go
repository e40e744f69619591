package qemutest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memory is an image in memory.
type memory []byte

func (m memory) WriteAt(b []byte, at int64) (int, error) { return copy(m[at:], b), nil }

// logOf makes a log by hand: first sector, sectors, flags; data of the byte given.
func logOf(counted int, entries ...[4]uint64) []byte {
	b := make([]byte, 512)
	binary.LittleEndian.PutUint64(b, logMagic)
	binary.LittleEndian.PutUint64(b[8:], 1)
	binary.LittleEndian.PutUint64(b[16:], uint64(counted))
	binary.LittleEndian.PutUint32(b[24:], 512)
	for _, e := range entries {
		s := make([]byte, 512)
		binary.LittleEndian.PutUint64(s, e[0])
		binary.LittleEndian.PutUint64(s[8:], e[1])
		binary.LittleEndian.PutUint64(s[16:], e[2])
		b = append(b, s...)
		if e[2]&logDiscard == 0 {
			b = append(b, bytes.Repeat([]byte{byte(e[3])}, int(e[1])*512)...)
		}
	}
	return b
}

func read(t *testing.T, b []byte) *LogWrites {
	t.Helper()
	l, err := ReadLog(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	return l
}

func TestPowerCut(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	b := logOf(3, [4]uint64{0, 4, 0, 1}, [4]uint64{2, 1, logFUA, 2}, [4]uint64{0, 0, logFlush, 0},
		[4]uint64{1, 2, logDiscard, 0}, [4]uint64{0, 64, 0, 3}, [4]uint64{70, 1, logFUA, 4})
	b = append(b, make([]byte, 2048)...) // not written to yet
	l := read(t, b)
	require.Len(t, l.Entries, 6)
	require.Equal(t, 0, l.Flushes(2))
	require.Equal(t, 1, l.Flushes(6))
	sector := func(v byte) []byte { return bytes.Repeat([]byte{v}, 512) }

	early := make(memory, 71*512)
	require.NoError(t, l.PowerCut(early, 3, nil))
	require.Equal(t, slices.Concat(sector(1), sector(1), sector(2), sector(1), make([]byte, 67*512)), []byte(early))

	torn := false
	for i := range uint64(20) {
		m := make(memory, 71*512)
		require.NoError(t, l.PowerCut(m, 6, rand.New(rand.NewPCG(seed, i))))
		for s := range 70 {
			at := m[s*512 : s*512+512]
			require.Equal(t, sector(at[0]), []byte(at), "sectors do not tear")
			old := []byte{1, 1, 2, 1}
			switch {
			case s < 4:
				require.Contains(t, []byte{old[s], 0, 3}, at[0], "sector %d", s)
				require.False(t, at[0] == 0 && (s == 0 || s == 3), "lost what was flushed")
			default:
				require.Contains(t, []byte{0, 3}, at[0])
			}
		}
		require.Equal(t, sector(4), []byte(m[70*512:]), "FUA")
		torn = torn || bytes.Contains(m[4*512:64*512], sector(3)) && bytes.Contains(m[4*512:64*512], sector(0))
	}
	require.True(t, torn)
}

func TestDamagedLogs(t *testing.T) {
	good := logOf(1, [4]uint64{0, 4, 0, 1})
	for name, damage := range map[string]func(b []byte) []byte{
		"short":    func(b []byte) []byte { return b[:20] },
		"magic":    func(b []byte) []byte { b[0]++; return b },
		"version":  func(b []byte) []byte { b[8] = 2; return b },
		"sector":   func(b []byte) []byte { b[25] = 3; return b },
		"flags":    func(b []byte) []byte { b[512+17] = 1; return b },
		"length":   func(b []byte) []byte { b[512+8+5] = 1; return b },
		"cut off":  func(b []byte) []byte { return b[:2048] },
		"no entry": func(b []byte) []byte { clear(b[512:544]); return b },
	} {
		b := damage(bytes.Clone(good))
		_, err := ReadLog(bytes.NewReader(b), int64(len(b)))
		require.ErrorIs(t, err, ErrLog, name)
	}
	b := logOf(0, [4]uint64{0, 4, 0, 1})
	require.Empty(t, read(t, b[:2048]).Entries, "an entry that was being written and that no flush counts")
}

func FuzzReadLog(f *testing.F) {
	f.Add(logOf(2, [4]uint64{0, 4, 0, 1}, [4]uint64{0, 0, logFlush, 0}, [4]uint64{9, 1, logMark, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ReadLog(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			require.ErrorIs(t, err, ErrLog)
			return
		}
		for _, e := range l.Entries {
			require.GreaterOrEqual(t, e.Length, int64(0))
			require.True(t, e.Discard || e.data+e.Length <= int64(len(b)))
		}
	})
}

func TestSorter(t *testing.T) {
	var s sorter
	for _, line := range []string{"hello", "=== RUN   TestA", "=== RUN   TestA/x", "    a_test.go:1: text", "--- PASS: TestA (0.12s)", "    --- PASS: TestA/x (0.00s)",
		"=== RUN   TestB", "    b_test.go:2: wrong", "--- FAIL: TestB (1.00s)", "=== RUN   TestC", "panic: lost", "FAIL"} {
		s.add(line)
	}
	require.Equal(t, []Test{
		{"TestA", "PASS", "0.12s", "=== RUN   TestA/x\n    a_test.go:1: text\n    --- PASS: TestA/x (0.00s)\n"},
		{"TestB", "FAIL", "1.00s", "    b_test.go:2: wrong\n"},
		{"TestC", "", "", "panic: lost\nFAIL\n"},
	}, s.tests)
	require.Equal(t, []string{"hello"}, s.rest)
}
