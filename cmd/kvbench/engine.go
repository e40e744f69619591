package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blobkv/blobkv/kv"
)

// The engines.
const (
	engineBlobKV = "blobkv"
	engineHostFS = "hostfs"
	engineRAM    = "ramfs"  // the host's engine on a file system in its own memory
	engineDevice = "device" // no engine: the device's own write and flush
)

// engineCommand is the hidden subcommand that turns a process into an engine.
const engineCommand = "engine-process"

func isEngineProcess(args []string) bool { return len(args) == 2 && args[1] == engineCommand }

// engineProcess is the child's side: one engine, one store, one request at a time.
type engineProcess struct {
	out   *json.Encoder
	outMu sync.Mutex
	stop  atomic.Bool // the parent has gone or wants us gone

	opening atomic.Bool // makeStore wipes or opens the store: no row has used it since, so the process may end without closing it

	cfg    *engineConfig
	values *valuePool
	store  store // nil while closed

	onFiles bool // store is the file system, not the engine
}

// engineMain runs an engine until its input ends. Ctrl-C reaches the whole process group: the parent decides what it
// means, an engine only listens to its parent.
func engineMain(stdin io.Reader, stdout, stderr io.Writer) int {
	signal.Ignore(os.Interrupt)
	e := &engineProcess{out: json.NewEncoder(stdout)}
	requests := make(chan request)
	go e.receive(stdin, requests)
	for req := range requests {
		e.answer(req)
	}
	if err := e.close(); err != nil {
		fmt.Fprintf(stderr, "kvbench: close: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// receive reads requests until the input ends, which also stops a row that runs.
func (e *engineProcess) receive(stdin io.Reader, requests chan<- request) {
	defer close(requests)
	dec := json.NewDecoder(bufio.NewReader(stdin))
	for {
		var req request
		if err := dec.Decode(&req); err != nil {
			e.stop.Store(true)
			if e.opening.Load() {
				os.Exit(exitFailed) // a device that does not answer is waited for long
			}
			return
		}
		requests <- req
	}
}

func (e *engineProcess) send(r reply) {
	e.outMu.Lock()
	defer e.outMu.Unlock()
	if err := e.out.Encode(r); err != nil {
		e.stop.Store(true) // nobody listens any more
	}
}

func (e *engineProcess) tell(p progress) { e.send(reply{Kind: replyProgress, Progress: p}) }

// answer carries out one request and sends its final reply.
func (e *engineProcess) answer(req request) {
	res, err := e.handle(req)
	if err != nil {
		e.send(reply{Kind: replyError, Error: err.Error(), Usage: errors.Is(err, errUsage)})
		return
	}
	e.send(reply{Kind: replyDone, Result: res})
}

func (e *engineProcess) handle(req request) (result, error) {
	if req.Config != nil {
		e.configure(req.Config)
	}
	if e.cfg == nil {
		return result{}, errors.New("request before the configuration")
	}
	switch req.Op {
	case opPrepare:
		return result{}, e.prepare(req)
	case opRun:
		return e.run(req)
	case opClose:
		return result{}, e.close()
	}
	return result{}, fmt.Errorf("unknown request %q", req.Op)
}

func (e *engineProcess) configure(cfg *engineConfig) {
	e.cfg = cfg
	rng := rand.New(rand.NewPCG(cfg.Seed, 0))
	e.values = newValuePool(rng, cfg.ValueSize, cfg.CompressionRatio)
	if cfg.GoMemoryLimit > 0 {
		debug.SetMemoryLimit(cfg.GoMemoryLimit)
	}
}

// prepare opens the store the way the row needs it and leaves it at rest.
func (e *engineProcess) prepare(req request) error {
	b := findBenchmark(req.Benchmark)
	if b == nil {
		return fmt.Errorf("unknown benchmark %q", req.Benchmark)
	}
	if req.Wipe || req.Reopen || b.files != e.onFiles {
		if err := e.close(); err != nil {
			return err
		}
	}
	if e.store == nil {
		if err := e.makeStore(req, b); err != nil {
			return err
		}
	}
	if err := primeLogs(e.store, b.log, e.cfg.WriteBufferSize, &e.stop); err != nil {
		return err
	}
	if err := settle(e.store, &e.stop); err != nil {
		return err
	}
	return e.cfg.Place.sync()
}

// makeStore opens the store, after wiping it if asked to, and the files below it for the benchmarks of those.
func (e *engineProcess) makeStore(req request, b *benchmark) error {
	e.opening.Store(true)
	defer e.opening.Store(false)
	if req.Wipe {
		if err := e.cfg.Place.wipe(); err != nil {
			return err
		}
	}
	if err := e.open(req); err != nil || !b.files {
		return err
	}
	return e.openFiles()
}

func (e *engineProcess) open(req request) error {
	compression, err := kv.ParseCompression(e.cfg.Compression)
	if err != nil {
		return err
	}
	o := &kv.Options{
		CreateIfMissing:     req.Create,
		ErrorIfExists:       req.Exclusive,
		CacheSize:           orNone(e.cfg.CacheSize),
		CompressedCacheSize: orNone(e.cfg.CompressedCache),
		MemTableSize:        e.cfg.WriteBufferSize,
		Compression:         compression,
	}
	switch e.cfg.Engine {
	case engineHostFS:
		e.store, err = openHostStore(e.cfg.Place.Path, o)
	case engineRAM:
		e.store, err = openRAMStore(o)
	case engineDevice:
		e.store, err = openDeviceStore(e.cfg.Place, e.cfg.KeySize+e.cfg.ValueSize)
	default:
		e.store, err = openBlobStore(e.cfg.Place.Device, o)
	}
	if errors.Is(err, kv.ErrExists) {
		return existsError(e.cfg.Place)
	}
	return err
}

// openFiles puts the file system in the place of the store on it.
func (e *engineProcess) openFiles() error {
	if err := e.close(); err != nil {
		return err
	}
	files, err := openFileStore(e.cfg.Engine, e.cfg.Place)
	if err == nil {
		e.store, e.onFiles = files, true
	}
	return err
}

// orNone is a size as kv takes it, where zero is the default.
func orNone(size int64) int64 {
	if size == 0 {
		return -1
	}
	return size
}

func (e *engineProcess) run(req request) (result, error) {
	b := findBenchmark(req.Benchmark)
	if b == nil || e.store == nil {
		return result{}, fmt.Errorf("run %q without a store that is prepared for it", req.Benchmark)
	}
	r := &runner{
		cfg:       e.cfg,
		store:     e.store,
		values:    e.values,
		cancelled: &e.stop,
		spec: rowSpec{
			benchmark: b,
			run:       req.Run,
			threads:   req.Threads,
			maxOps:    req.MaxOps,
			limit:     time.Duration(req.MaxSeconds * float64(time.Second)),
			rotations: req.MaxRotations,
		},
	}
	return r.run(e.tell)
}

func (e *engineProcess) close() error {
	if e.store == nil {
		return nil
	}
	err := e.store.close()
	e.store, e.onFiles = nil, false
	return err
}
