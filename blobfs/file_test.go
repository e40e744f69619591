package blobfs

import (
	"bytes"
	"io"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/bdev"
)

func (e *env) openWrite(name string) *File {
	e.t.Helper()
	f, err := e.OpenReadWrite(name, true)
	require.NoError(e.t, err)
	return f
}

func (e *env) writeAt(f *File, p []byte, off int64) {
	e.t.Helper()
	n, err := f.WriteAt(p, off)
	require.NoError(e.t, err)
	require.Equal(e.t, len(p), n)
}

func TestAppendInPieces(t *testing.T) {
	e := newEnv(t, 32<<20, Options{})
	for _, piece := range []int{1, 100, 4096, 5000, 70_000, 256 << 10, 300_001} {
		want := pattern(700_000, byte(piece))
		f, err := e.Create("/f")
		require.NoError(t, err)
		for at := 0; at < len(want); at += piece {
			if piece == 1 && at >= 10_000 {
				want = want[:at]
				break
			}
			_, err := f.Write(want[at:min(at+piece, len(want))])
			require.NoError(t, err)
		}
		require.Empty(t, diff(want, e.read("/f")), "unsynced, piece %d", piece)
		require.NoError(t, f.Sync())
		require.Empty(t, diff(want, e.read("/f")), "synced, piece %d", piece)
		require.NoError(t, f.Close())
		require.Empty(t, diff(want, e.read("/f")), "closed, piece %d", piece)
		e.remount()
		require.Empty(t, diff(want, e.read("/f")), "remounted, piece %d", piece)
	}
}

func TestReadAtEdges(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	want := pattern(10_000, 1)
	e.create("/f", want)
	f, err := e.Open("/f")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	for _, c := range []struct{ off, n, got int }{
		{0, 0, 0}, {0, 1, 1}, {9_999, 1, 1}, {9_999, 2, 1}, {4_095, 2, 2}, {0, 10_000, 10_000}, {0, 20_000, 10_000}, {4096, 4096, 4096},
	} {
		p := make([]byte, c.n)
		n, err := f.ReadAt(p, int64(c.off))
		require.Equal(t, c.got, n, "%+v", c)
		if c.got < c.n {
			require.Equal(t, io.EOF, err)
		} else {
			require.NoError(t, err)
		}
		require.Empty(t, diff(want[c.off:c.off+c.got], p[:n]))
	}
	for _, off := range []int64{10_000, 1 << 40} {
		_, err = f.ReadAt(make([]byte, 1), off)
		require.Equal(t, io.EOF, err)
	}
	_, err = f.ReadAt(make([]byte, 1), -1)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = f.Write([]byte("x"))
	require.ErrorIs(t, err, ErrInvalid)
}

// TestGapReadsZero: neither a gap nor the slack of a block shows what the clusters held before.
func TestGapReadsZero(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.create("/old", bytes.Repeat([]byte{0xEE}, 6<<20))
	require.NoError(t, e.Remove("/old"))
	require.NoError(t, e.Sync())
	f := e.openWrite("/f")
	want := make([]byte, 5<<20)
	copy(want, "head")
	e.writeAt(f, []byte("head"), 0)
	copy(want[10_000:], "small gap")
	e.writeAt(f, []byte("small gap"), 10_000)
	copy(want[3<<20+77:], "large gap")
	e.writeAt(f, []byte("large gap"), 3<<20+77)
	require.NoError(t, f.Truncate(int64(len(want))))
	require.Empty(t, diff(want, e.read("/f")))
	require.NoError(t, f.Truncate(5_000))
	require.NoError(t, f.Truncate(4<<20))
	clear(want[5_000:])
	require.Empty(t, diff(want[:4<<20], e.read("/f")))
	require.NoError(t, f.Close())
	e.remount()
	require.Empty(t, diff(want[:4<<20], e.read("/f")))
}

// TestSlackAfterShrink: bytes cut off do not come back when the file grows, whatever is in memory and on the device.
func TestSlackAfterShrink(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.create("/f", bytes.Repeat([]byte{0xAA}, 9_000))
	for _, reopen := range []bool{false, true} {
		f := e.openWrite("/f")
		e.writeAt(f, bytes.Repeat([]byte{0xAA}, 9_000), 0)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Truncate(100))
		if reopen {
			require.NoError(t, f.Sync())
			require.NoError(t, f.Close())
			f = e.openWrite("/f")
		}
		e.writeAt(f, []byte("Z"), 8_999)
		want := append(bytes.Repeat([]byte{0xAA}, 100), make([]byte, 8_900)...)
		want[8_999] = 'Z'
		require.Empty(t, diff(want, e.read("/f")))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.Empty(t, diff(want, e.read("/f")))
	}
}

func TestRandomOverwrites(t *testing.T) {
	seed := seedOf(t)
	rng := rngOf(seed, 1)
	e := newEnv(t, 32<<20, Options{WriteBufferBytes: 1 << 20})
	want := pattern(3<<20, 9)
	e.create("/f", want)
	f := e.openWrite("/f")
	for i := range 400 {
		n := 1 + rng.IntN(9_000)
		off := rng.IntN(len(want) - n)
		p := pattern(n, byte(i))
		copy(want[off:], p)
		e.writeAt(f, p, int64(off))
		if i%97 == 0 {
			require.NoError(t, f.Sync())
		}
	}
	require.Empty(t, diff(want, e.read("/f")))
	require.NoError(t, f.Close())
	e.remount()
	require.Empty(t, diff(want, e.read("/f")))
}

func TestReuse(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	old := pattern(500_000, 1)
	e.create("/000001.log", old)
	f, err := e.Reuse("/000001.log", "/000002.log")
	require.NoError(t, err)
	require.Equal(t, []string{"000002.log"}, e.names("/"))
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(len(old)), info.Size)
	require.NoError(t, e.Sync())
	last := e.Store().LastLSN()
	loaded := e.Stats().LoadedBytes
	want := pattern(30_000, 2)
	for at := 0; at < len(want); at += 300 {
		_, err := f.Write(want[at : at+300])
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	}
	require.Equal(t, last, e.Store().LastLSN(), "overwriting a log changes no metadata")
	require.Equal(t, loaded, e.Stats().LoadedBytes, "overwriting a log reads nothing")
	require.NoError(t, f.Close())
	got := e.read("/000002.log")
	require.Len(t, got, len(old))
	require.Empty(t, diff(want, got[:len(want)]))
	require.Empty(t, diff(old[32<<10:], got[32<<10:]))
}

// TestSecondHandle: bytes written through one handle are seen through another at once.
func TestSecondHandle(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	f := e.openWrite("/f")
	g, err := e.Open("/f")
	require.NoError(t, err)
	g.SetSequential()
	want := []byte{}
	for i := range 300 {
		p := pattern(1+i*7, byte(i))
		want = append(want, p...)
		_, err := f.Write(p)
		require.NoError(t, err)
		got := make([]byte, len(p))
		_, err = g.Read(got)
		require.NoError(t, err)
		require.Empty(t, diff(p, got))
		if i%50 == 0 {
			require.NoError(t, f.Sync())
		}
	}
	_, err = g.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	require.NoError(t, f.Close())
	require.NoError(t, g.Close())
	require.Empty(t, diff(want, e.read("/f")))
}

func TestPreallocateAndTrim(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	free := e.Usage().FreeBytes
	f := e.openWrite("/f")
	require.NoError(t, f.Preallocate(0, 1_000_001))
	info, err := f.Stat()
	require.NoError(t, err)
	require.Zero(t, info.Size)
	require.Equal(t, free-16*64<<10, e.Usage().FreeBytes)
	last := e.Store().LastLSN()
	_, err = f.Write(pattern(900_000, 1))
	require.NoError(t, err)
	require.Equal(t, last, e.Store().LastLSN(), "no clusters are taken where they were reserved")
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.NoError(t, e.Sync())
	require.Equal(t, free-14*64<<10, e.Usage().FreeBytes)
	require.ErrorIs(t, e.openWrite("/g").Preallocate(0, 1<<40), ErrNoSpace)
}

func TestNoSpace(t *testing.T) {
	e := newEnv(t, 8<<20, Options{})
	e.create("/keep", pattern(100_000, 5))
	f := e.openWrite("/big")
	var total int64
	var err error
	for err == nil {
		var n int
		n, err = f.Write(pattern(50_000, byte(total)))
		total += int64(n)
	}
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Greater(t, total, int64(5<<20))
	require.Less(t, e.Usage().FreeBytes, int64(64<<10))
	require.NoError(t, f.Sync(), "what was taken can be synced")
	require.Empty(t, diff(pattern(100_000, 5), e.read("/keep")))
	require.NoError(t, f.Close())
	require.NoError(t, e.Remove("/big"))
	require.NoError(t, e.Sync())
	e.create("/again", pattern(5<<20, 1))
}

// TestManyWritersLittleMemory: more files are written at once than there are buffers.
func TestManyWritersLittleMemory(t *testing.T) {
	e := newEnv(t, 64<<20, Options{WriteBufferBytes: 1 << 20})
	const files, size = 60, 200_000
	var wg sync.WaitGroup
	for i := range files {
		wg.Add(1)
		go func() {
			defer wg.Done()
			f, err := e.Create("/" + string(rune('A'+i)))
			if err != nil {
				t.Error(err)
				return
			}
			content := pattern(size, byte(i))
			for at := 0; at < size; at += 1_000 {
				if _, err := f.Write(content[at : at+1_000]); err != nil {
					t.Error(err)
					return
				}
			}
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	for i := range files {
		require.Empty(t, diff(pattern(size, byte(i)), e.read("/"+string(rune('A'+i)))))
	}
	require.LessOrEqual(t, e.Stats().WriteBuffer, int64(1<<20))
}

// TestIdleTailsGiveWay: files at rest with a tail in memory do not starve a busy one.
func TestIdleTailsGiveWay(t *testing.T) {
	e := newEnv(t, 64<<20, Options{WriteBufferBytes: 1 << 20})
	var idle []*File
	for i := range 70 {
		f := e.openWrite("/idle" + string(rune('A'+i)))
		_, err := f.Write(pattern(1_000, byte(i)))
		require.NoError(t, err)
		idle = append(idle, f)
	}
	f := e.openWrite("/busy")
	_, err := f.Write(pattern(2<<20, 7))
	require.NoError(t, err)
	for i, g := range idle {
		_, err := g.Write([]byte("end"))
		require.NoError(t, err)
		require.NoError(t, g.Close())
		require.Empty(t, diff(append(pattern(1_000, byte(i)), "end"...), e.read(g.Name())))
	}
	require.NoError(t, f.Close())
	require.Empty(t, diff(pattern(2<<20, 7), e.read("/busy")))
}

func TestReadAhead(t *testing.T) {
	e := newEnv(t, 32<<20, Options{})
	want := pattern(5<<20+123, 1)
	e.create("/f", want)
	f, err := e.Open("/f")
	require.NoError(t, err)
	f.SetSequential()
	reads := e.Stats().DeviceReads
	var got []byte
	p := make([]byte, 30_000)
	for at := int64(0); ; {
		n, err := f.ReadAt(p, at)
		got = append(got, p[:n]...)
		at += int64(n)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	require.Empty(t, diff(want, got))
	require.LessOrEqual(t, e.Stats().DeviceReads-reads, int64(1), "a sequential reader finds its bytes in memory")
	require.Less(t, e.Stats().ReadAheadBytes, int64(6<<20))

	_, err = f.ReadAt(p, 3<<20) // a jump back
	require.NoError(t, err)
	require.Empty(t, diff(want[3<<20:3<<20+len(p)], p))
	require.NoError(t, f.Close())
	require.Zero(t, e.Stats().ReadBuffer)
}

func TestPrefetch(t *testing.T) {
	e := newEnv(t, 32<<20, Options{})
	want := pattern(2<<20, 1)
	e.create("/f", want)
	f, err := e.Open("/f")
	require.NoError(t, err)
	require.NoError(t, f.Prefetch(100_001, 256<<10))
	reads := e.Stats().DeviceReads
	p := make([]byte, 20_000)
	for at := 100_001; at < 100_001+240_000; at += len(p) {
		_, err = f.ReadAt(p, int64(at))
		require.NoError(t, err)
		require.Empty(t, diff(want[at:at+len(p)], p))
	}
	require.Equal(t, reads, e.Stats().DeviceReads)
	for range 20 {
		require.NoError(t, f.Prefetch(0, 8<<20))
	}
	require.NoError(t, f.Close())
	require.Zero(t, e.Stats().ReadBuffer)
}

// TestReadAheadIsShared reads a file at many places at once, which together would like to read ahead more than there is
// memory for: each gets a part, and none has to go to the device block by block.
func TestReadAheadIsShared(t *testing.T) {
	const readers, perReader = 32, 512 << 10
	e := newEnv(t, 64<<20, Options{ReadAheadBytes: 4 << 20})
	want := pattern(readers*perReader, 1)
	e.create("/f", want)
	var files []*File
	for range readers {
		f, err := e.Open("/f")
		require.NoError(t, err)
		f.SetSequential()
		files = append(files, f)
	}
	reads := e.Stats().DeviceReads
	p := make([]byte, 16<<10)
	for at := 0; at < perReader; at += len(p) {
		for i, f := range files {
			n, err := f.ReadAt(p, int64(i*perReader+at))
			require.NoError(t, err)
			require.Empty(t, diff(want[i*perReader+at:][:n], p))
		}
	}
	require.LessOrEqual(t, e.Stats().DeviceReads-reads, int64(2*readers))
	require.LessOrEqual(t, e.Stats().ReadBuffer, int64(4<<20))
	for _, f := range files {
		require.NoError(t, f.Close())
	}
	require.Zero(t, e.Stats().ReadBuffer)
	require.Zero(t, e.sequential.Load())
}

// TestReadAheadMemoryMovesOn: buffers that were read ahead and never asked for do not keep others from reading ahead.
func TestReadAheadMemoryMovesOn(t *testing.T) {
	e := newEnv(t, 32<<20, Options{ReadAheadBytes: 1 << 20})
	e.create("/f", pattern(2<<20, 1))
	var idle []*File
	for range 6 {
		f, err := e.Open("/f")
		require.NoError(t, err)
		require.NoError(t, f.Prefetch(0, 1<<20))
		idle = append(idle, f)
	}
	f, err := e.Open("/f")
	require.NoError(t, err)
	f.SetSequential()
	reads := e.Stats().DeviceReads
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	require.Empty(t, diff(pattern(2<<20, 1), got))
	require.LessOrEqual(t, e.Stats().DeviceReads-reads, int64(1))
	require.LessOrEqual(t, e.Stats().ReadBuffer, int64(1<<20))
	for _, f := range append(idle, f) {
		require.NoError(t, f.Close())
	}
	require.Zero(t, e.Stats().ReadBuffer)
	require.Empty(t, e.readHolders.list)
}

// TestReadAheadSeesWrites: read-ahead never returns bytes that have changed since.
func TestReadAheadSeesWrites(t *testing.T) {
	e := newEnv(t, 32<<20, Options{})
	want := pattern(1<<20, 1)
	e.create("/f", want)
	f, err := e.Open("/f")
	require.NoError(t, err)
	require.NoError(t, f.Prefetch(0, 512<<10))
	w := e.openWrite("/f")
	e.writeAt(w, []byte("changed"), 300_000)
	copy(want[300_000:], "changed")
	p := make([]byte, 100)
	_, err = f.ReadAt(p, 299_990)
	require.NoError(t, err)
	require.Empty(t, diff(want[299_990:300_090], p))
	require.NoError(t, w.Truncate(300_003))
	n, err := f.ReadAt(p, 299_990)
	require.Equal(t, io.EOF, err)
	require.Equal(t, 13, n)
	require.NoError(t, f.Close())
	require.NoError(t, w.Close())
}

func TestReadAllocatesNothing(t *testing.T) {
	e := newEnv(t, 16<<20, Options{})
	e.create("/f", pattern(1<<20, 1))
	f, err := e.Open("/f")
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	p := make([]byte, 4_000)
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if _, err := f.ReadAt(p, 12_345); err != nil {
			t.Error(err)
		}
	}))
}

// TestConcurrentReadersAndWriter runs readers against an appending, overwriting writer; every byte they see is one that
// was written there.
func TestConcurrentReadersAndWriter(t *testing.T) {
	e := newEnv(t, 64<<20, Options{WriteBufferBytes: 1 << 20})
	f := e.openWrite("/f")
	const size = 2 << 20
	content := pattern(size, 0)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rngOf(uint64(g), 5)
			p := make([]byte, 20_000)
			for {
				select {
				case <-done:
					return
				default:
				}
				off := rng.IntN(size)
				n, err := f.ReadAt(p, int64(off))
				if err != nil && err != io.EOF {
					t.Error(err)
					return
				}
				if d := diff(content[off:off+n], p[:n]); d != "" {
					t.Errorf("at %d: %s", off, d)
					return
				}
			}
		}()
	}
	for round := range 3 {
		for at := 0; at < size; at += 3_000 {
			_, err := f.WriteAt(content[at:min(at+3_000, size)], int64(at))
			require.NoError(t, err)
			if at%(300_000) == 0 {
				require.NoError(t, f.Sync())
			}
		}
		if round == 1 {
			require.NoError(t, f.Truncate(size/2))
		}
	}
	close(done)
	wg.Wait()
	require.NoError(t, f.Close())
}

// TestSyncCosts pins what a sync does to the device.
func TestSyncCosts(t *testing.T) {
	e := newEnv(t, 32<<20, Options{})
	f := e.openWrite("/log")
	_, err := f.Write(pattern(100, 1))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	cost := func(what func()) (writes, flushes uint64) {
		before := e.dev.Stats()
		what()
		after := e.dev.Stats()
		spent := after.Since(before)
		return spent.Of(bdev.OpWrite).Latency.Count, spent.Of(bdev.OpFlush).Latency.Count
	}
	writes, flushes := cost(func() {
		_, err = f.Write(pattern(100, 2))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	})
	require.Equal(t, [2]uint64{2, 1}, [2]uint64{writes, flushes}, "append: data and journal, one flush")
	_, flushes = cost(func() { require.NoError(t, f.Sync()) })
	require.Zero(t, flushes, "nothing changed")
	e.writeAt(f, []byte("x"), 50) // confirms the length first
	require.NoError(t, f.Sync())
	writes, flushes = cost(func() {
		e.writeAt(f, []byte("y"), 60)
		require.NoError(t, f.Sync())
	})
	require.Equal(t, [2]uint64{1, 1}, [2]uint64{writes, flushes}, "overwrite: data, one flush")
	_, flushes = cost(func() {
		_, err = f.Write(pattern(1<<20, 2))
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	})
	require.Equal(t, uint64(2), flushes, "a large append: data, flush, length, flush")
	_, flushes = cost(func() { require.NoError(t, e.Sync()) })
	require.Zero(t, flushes, "the sync of the file covered its name")
	require.NoError(t, f.Close())
}
