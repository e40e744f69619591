package main

// The parent and its engine processes speak JSON lines: one request down the child's standard input, any number of
// progress replies and one final reply up its standard output. A child whose input ends stops what it does, closes its
// store and exits, so that no engine outlives its parent.

// The operations of a request.
const (
	opPrepare = "prepare" // bring the store into the state a row needs; not measured
	opRun     = "run"     // run the row; measured by both sides
	opClose   = "close"   // close the store
)

// request asks an engine process for one operation. The first one carries the configuration.
type request struct {
	Op        string        `json:"op"`
	Config    *engineConfig `json:"config,omitempty"`
	Benchmark string        `json:"benchmark,omitempty"`
	Run       int           `json:"run,omitempty"`
	Create    bool          `json:"create,omitempty"`    // the store may be made
	Wipe      bool          `json:"wipe,omitempty"`      // what is there is wiped first
	Exclusive bool          `json:"exclusive,omitempty"` // a store that is there is an error
	Reopen    bool          `json:"reopen,omitempty"`    // so that the block cache is as cold as the page cache

	Threads    int     `json:"threads,omitempty"`
	MaxOps     int64   `json:"max_ops,omitempty"`
	MaxSeconds float64 `json:"max_seconds,omitempty"` // 0: no limit

	MaxRotations int64 `json:"max_rotations,omitempty"` // of the log; 0: no limit
}

// The kinds of reply.
const (
	replyProgress = "progress"
	replyDone     = "done"
	replyError    = "error"
)

type reply struct {
	Kind     string   `json:"kind"`
	Error    string   `json:"error,omitempty"`
	Usage    bool     `json:"usage,omitempty"` // another command line would avoid the error
	Progress progress `json:"progress,omitzero"`
	Result   result   `json:"result,omitzero"`
}

// progress is how far a row is.
type progress struct {
	Phase   string  `json:"phase"`
	Ops     int64   `json:"ops"`
	Seconds float64 `json:"seconds"`
}

// engineConfig is what an engine process needs to know for the whole session.
type engineConfig struct {
	Engine string `json:"engine"`
	Place  place  `json:"place"`

	CacheSize       int64  `json:"cache_size"`
	CompressedCache int64  `json:"compressed_cache,omitempty"` // ours only
	WriteBufferSize int64  `json:"write_buffer_size"`
	Compression     string `json:"compression"`
	GoMemoryLimit   int64  `json:"go_memory_limit,omitempty"` // bytes; 0: none

	Num              int64   `json:"num"`
	Seed             uint64  `json:"seed"`
	SeekNexts        int     `json:"seek_nexts"`
	WriteRate        int64   `json:"write_rate,omitempty"` // bytes per second; 0: no limit
	KeySize          int     `json:"key_size"`
	ValueSize        int     `json:"value_size"`
	CompressionRatio float64 `json:"compression_ratio"`
	Sync             bool    `json:"sync"`
}

// result is what an engine process has measured of one run of one row.
type result struct {
	Ops     int64   `json:"ops"`
	Found   int64   `json:"found"` // of the reads, those that met a key
	Bytes   int64   `json:"bytes"` // keys and values
	Seconds float64 `json:"seconds"`

	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	MaxUs float64 `json:"max_us"`
	Hist  string  `json:"hist"` // all latencies, as hdrhistogram encodes them

	CPUSeconds   float64 `json:"cpu_seconds"`      // of the process, drain included
	WALSyncSecs  float64 `json:"wal_sync_seconds"` // in all calls that synced the log
	DrainSeconds float64 `json:"drain_seconds"`    // from the last operation until the engine and its file system were at rest

	EngineWritten int64 `json:"engine_written"` // bytes the LSM engine wrote
	StackWritten  int64 `json:"stack_written"`  // bytes the stack wrote to its device, 0 if it has none
	StackRead     int64 `json:"stack_read"`
	DataBytes     int64 `json:"data_bytes"` // of the store's files at the end
	ResidentBytes int64 `json:"resident_bytes"`
	Rotations     int64 `json:"rotations"` // times the log was changed during the row
	Recycled      int64 `json:"recycled"`  // of the logs that were made then, those whose file was a log before
	ExtraOps      int64 `json:"extra_ops"` // writes of the goroutine beside the measured ones
	WALSyncs      int64 `json:"wal_syncs"`
	CacheHits     int64 `json:"cache_hits"`
	CacheMisses   int64 `json:"cache_misses"`
	BlockHits     int64 `json:"compressed_cache_hits"`
	BlockMisses   int64 `json:"compressed_cache_misses"`
}
