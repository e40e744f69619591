package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/kv"
)

// kvbench runs the command line and returns its standard output.
func kvbench(t *testing.T, ctx context.Context, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	var stderr lockedBuffer
	cmd := newCommand(&stdout, &stderr)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if text := stderr.String(); text != "" {
		t.Log(text)
	}
	return stdout.String(), err
}

// lockedBuffer is a standard error that the parent and the copies of its engines' outputs share.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestBadFlags(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"--num", "0"},
		{"--num", "many"},
		{"--nosuchflag"},
		{"fillseq"},
		{"--threads", "0"},
		{"--threads", "1,0"},
		{"--threads", "many"},
		{"--benchmark_write_rate_limit", "1k"},
		{"--benchmark_write_rate_limit", "100k", "--value_size", "1MiB"},
		{"--runs", "0"},
		{"--duration", "-1s"},
		{"--seek_nexts", "-1"},
		{"--format", "xml"},
		{"--key_size", "3", "--num", "100000"},
		{"--value_size", "-1"},
		{"--compression_ratio", "0"},
		{"--compression_ratio", "1.5"},
		{"--compression_type", "lzma"},
		{"--write_buffer_size", "1k"},
		{"--cache_size", "lots"},
		{"--benchmarks", "fillfast"},
		{"--benchmarks", "readrandom"},
		{"--use_existing_db"},
		{"--use_existing_db", "--destroy"},
		{"--use_existing_db", "--device", filepath.Join(dir, "missing.img")},
		{"--device", "nosuchscheme:/x"},
		{"--device", dir},
		{"--vs", "leveldb"},
		{"--vs", "hostfs:"},
		{"--vs", "hostfs", "--device", "malloc:64MiB"},
		{"--log_rotations", "-1"},
		{"--loop", "1GiB"},
		{"--loop", "1MiB", "--vs", "hostfs"},
		{"--loop", "1GiB", "--vs", "hostfs", "--device", filepath.Join(dir, "x.img")},
		{"--loop", "1GiB", "--vs", "hostfs", "--destroy"},
		{"--bound", "--device", "malloc:64MiB"},
		{"--bound", "--value_size", "2MiB", "--device", filepath.Join(dir, "x.img")},
		{"--data_over_memory", "4"},
		{"--data_over_memory", "-1", "--memory", "256MiB"},
		{"--data_over_memory", "4", "--memory", "256MiB", "--num", "5"},
		{"--memory", "64MiB", "--device", filepath.Join(dir, "x.img")},
	} {
		_, err := kvbench(t, context.Background(), args...)
		require.ErrorIs(t, err, errUsage, "%q", args)
		require.Equal(t, exitUsage, report(context.Background(), err), "%q", args)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "a refused command line leaves nothing behind")
}

func TestHelpListsFlagsAndBenchmarks(t *testing.T) {
	out, err := kvbench(t, context.Background(), "--help")
	require.NoError(t, err)
	for _, want := range []string{"--device", "--num", "--compression_ratio", "--runs", "--destroy", "--value_size", "--key_size",
		"--threads", "--cache_size", "--duration", "--seed", "--sync", "--use_existing_db", "--benchmarks", "--vs", "--memory", "--data_over_memory", "--keep", "--bound", "--log_rotations", "--loop",
		"Comparison:", "readwhilewriting", "Exit codes:"} {
		require.Contains(t, out, want)
	}
}

func TestExitCodes(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	require.Equal(t, exitOK, report(ctx, nil))
	require.Equal(t, exitFailed, report(ctx, os.ErrPermission))
	cancel()
	require.Equal(t, exitInterrupted, report(ctx, os.ErrPermission))
}

func TestParseVS(t *testing.T) {
	_, dir, err := parseVS("hostfs:/a:b")
	require.NoError(t, err)
	require.Equal(t, "/a:b", dir)
}

func TestRowBounds(t *testing.T) {
	ours := &contender{split: split{Engine: engineBlobKV}}
	of := func(name string, change func(*session)) rowBounds {
		se := &session{settings: defaultSettings()}
		change(se)
		return se.bounds(ours, findBenchmark(name))
	}
	n := defaultSettings().Num
	nothing := func(*session) {}
	require.Equal(t, rowBounds{n, defaultLimit, 0, 1}, of("fillrandom", nothing))
	require.Equal(t, rowBounds{n, readLimit, 1, 1}, of("fillsync", nothing), "the log after the first one may be recycled")
	require.Equal(t, rowBounds{n, readLimit, 0, 1}, of("fillsync-recycled", nothing))
	require.Equal(t, rowBounds{n, readLimit, 0, 1}, of("readseq", nothing))
	require.Equal(t, rowBounds{n, 0, 0, 1}, of("fillrandom", func(se *session) { se.NumGiven = true }))
	require.Equal(t, rowBounds{n, 0, 0, 1}, of("overwrite", func(se *session) { se.VS = "hostfs" }))
	require.Equal(t, time.Minute, of("overwrite", func(se *session) { se.Duration = time.Minute }).limit)
	require.Equal(t, n, of("fillseq", func(se *session) { se.Duration = time.Minute }).ops, "what it leaves must be complete")

	eight := func(se *session) { se.LogRotations, se.Duration = 8, time.Second }
	require.Equal(t, rowBounds{endless, rotationLimit, 1, 8}, of("fillsync", eight), "a fresh log each, on eight stores")
	require.Equal(t, rowBounds{endless, rotationLimit, 8, 1}, of("fillsync-recycled", eight))
	require.Equal(t, time.Second, of("fillsyncwhilecompacting", eight).limit)
	ours.Engine = engineDevice
	require.Equal(t, rowBounds{endless, time.Second, 0, 1}, of("fillsync", eight), "a device has no logs")
}

// The number of keys follows from what an entry takes up, and from the keys that random writes miss.
func TestDataOverMemory(t *testing.T) {
	s := defaultSettings()
	s.Memory, s.DataOverMemory, s.ValueSize = 224<<20, 4, 128
	rows := func(list string) []*benchmark {
		b, err := parseBenchmarks(list)
		require.NoError(t, err)
		return b
	}
	const entry = 128/2 + fragmentOverhead + entryOverhead
	require.NoError(t, s.sizeData(rows("fillseq,readrandom")))
	require.InDelta(t, 4*224<<20/entry, s.Num, 1)
	require.NoError(t, s.sizeData(rows("fillrandom,readrandom")))
	require.InDelta(t, 4*224<<20/entry/0.632, s.Num, 0.001*float64(s.Num))

	se := &session{settings: s}
	se.Duration = time.Second
	ops, limit := se.opsAndTime(findBenchmark("fillrandom"))
	require.Equal(t, s.Num, ops, "it loads all there is to be")
	require.Zero(t, limit)
	_, limit = se.opsAndTime(findBenchmark("overwrite"))
	require.Equal(t, time.Second, limit)
	_, limit = se.opsAndTime(findBenchmark("fillsync"))
	require.Equal(t, time.Second, limit)
}

func TestMemorySplits(t *testing.T) {
	s := defaultSettings()
	s.VS = engineHostFS
	splits, err := splitsFor(&s)
	require.NoError(t, err)
	require.Equal(t, []split{
		{Engine: engineBlobKV, CacheSize: kv.DefaultCacheSize, Compressed: kv.DefaultCompressedCacheSize},
		{Engine: engineHostFS, CacheSize: kv.DefaultCacheSize + kv.DefaultCompressedCacheSize},
	}, splits)

	s.Memory = 512 << 20
	splits, err = splitsFor(&s)
	require.NoError(t, err)
	require.Len(t, splits, 3)
	fixed := int64(processMemory + memTablesAtOnce*kv.DefaultMemTableSize)
	require.Equal(t, int64(s.Memory), cacheFootprint(splits[0].CacheSize)+splits[0].Compressed+stackMemory+fixed, "ours takes all that is left")
	require.Greater(t, splits[0].Compressed, splits[0].CacheSize)
	for _, h := range splits[1:] {
		require.Equal(t, int64(s.Memory), cacheFootprint(h.CacheSize)+h.PageCache+fixed, "the host has as much")
		require.GreaterOrEqual(t, h.PageCache, int64(minPageCache))
	}
	require.Less(t, splits[1].CacheSize, splits[2].CacheSize)

	s.VS = ""
	splits, err = splitsFor(&s)
	require.NoError(t, err)
	require.Len(t, splits, 1)

	s.Memory = 1 << 20
	_, err = splitsFor(&s)
	require.ErrorIs(t, err, errUsage)
	var least size.Value
	for _, word := range strings.Fields(err.Error()) { // the error names a size that is enough
		if least.Set(word) == nil && least > 1<<20 {
			break
		}
	}
	s.Memory = least
	_, err = splitsFor(&s)
	require.NoError(t, err, least.String())
}

// A folder that kvbench did not make is not wiped, nor is a file that is no store.
func TestDestroyRefusesWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	folder := place{Kind: placeFolder, Path: filepath.Join(dir, "f")}
	require.NoError(t, folder.wipe(), "nothing there, nothing to wipe")
	require.NoError(t, os.Mkdir(folder.Path, 0o700))
	precious := filepath.Join(folder.Path, "precious")
	require.NoError(t, os.WriteFile(precious, []byte("x"), 0o600))
	require.ErrorIs(t, folder.wipe(), errUsage)
	require.FileExists(t, precious)

	require.NoError(t, os.Remove(precious))
	require.NoError(t, folder.makeFolder())
	require.NoError(t, os.WriteFile(precious, []byte("x"), 0o600))
	require.NoError(t, folder.wipe())
	require.NoFileExists(t, precious)

	file := filepath.Join(dir, "letter.txt")
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte("dear "), 4096), 0o600))
	_, err := kvbench(t, context.Background(), "--device", file, "--destroy", "--num", "10")
	require.ErrorIs(t, err, errUsage)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Len(t, text, 5*4096)
}

func TestLocate(t *testing.T) {
	p, err := locate("malloc:64MiB")
	require.NoError(t, err)
	require.Equal(t, placeRAM, p.Kind)
	require.Equal(t, "", p.host())

	dir := t.TempDir()
	p, err = locate("file:" + dir + "/x.img?policy=sleep")
	require.NoError(t, err)
	require.Equal(t, place{placeImage, "file:" + dir + "/x.img?policy=sleep", dir + "/x.img", "sleep"}, p)
	require.Equal(t, dir, p.host())

	p, err = locate(defaultDevice(filepath.Join(dir, "a?b%.img")))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "a?b%.img"), p.Path)

	if runtime.GOOS == "linux" {
		p, err = locate("file:/dev/null")
		require.NoError(t, err)
		require.Equal(t, placeDevice, p.Kind)
	}
}

func TestShellQuote(t *testing.T) {
	require.Equal(t, "aio:/tmp/x.img", shellQuote("aio:/tmp/x.img"))
	require.Equal(t, `'aio:/tmp/x y?size=1GiB'`, shellQuote("aio:/tmp/x y?size=1GiB"))
	require.Equal(t, `'it'\''s'`, shellQuote("it's"))
}
