package kv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/vfsadapter"
)

// storeDir is the directory of the engine's files in BlobFS. The rest of the root is free for what is not the
// engine's.
const storeDir = "/db"

// DB is an open store.
type DB struct {
	name    string
	opts    Options
	engine  *pebble.DB
	fs      *blobfs.FS
	adapter *vfsadapter.FS         // the engine's view of fs
	blocks  *vfsadapter.BlockCache // nil: none
	dev     *bdev.Device
	space   *spaceGuard
	events  events

	ctx     context.Context // done, with ErrClosed as its cause, when Close has begun
	cancel  context.CancelCauseFunc
	gate    gate
	handles atomic.Int64 // open iterators and snapshots
	closing sync.Mutex   // one Close at a time
}

// Open opens the store on a device; see the package documentation for device names. It fails with ErrOptions, ErrDevice,
// ErrNotStore, ErrExists, ErrInUse, ErrNewerVersion, ErrCorrupt, ErrNoSpace, or what the device says.
func Open(device string, o *Options) (*DB, error) {
	c := o.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	dev, err := open.Device(device, open.Options{
		ReadOnly: c.ReadOnly,
		Create:   c.CreateIfMissing,
		Size:     c.Size,
	})
	if err != nil {
		return nil, deviceError(device, &c, err)
	}
	db, err := openOn(dev, c)
	if err != nil {
		return nil, errors.Join(err, open.Discard(dev))
	}
	return db, nil
}

// openOn opens the store on an open device, which belongs to the DB if there is no error.
func openOn(dev *bdev.Device, o Options) (*DB, error) {
	if dev.Size() < MinSize && !o.ReadOnly {
		return nil, fmt.Errorf("%w: open %s: the device has %d bytes; a store needs at least %d",
			ErrDevice, dev.Name(), dev.Size(), MinSize)
	}
	fs, err := mount(dev, &o)
	if err != nil {
		return nil, wrap(err) // it names the device
	}
	if err := refuseDamage(fs, &o); err != nil {
		return nil, errors.Join(wrapf(err, "kv: open %s", dev.Name()), fs.Close())
	}
	db := &DB{name: dev.Name(), opts: o, fs: fs, dev: dev}
	db.live()
	if err := db.openEngine(); err != nil {
		return nil, errors.Join(wrapf(err, "kv: open %s", dev.Name()), db.blocks.Close(), fs.Abandon())
	}
	return db, nil
}

// openEngine starts the engine on the mounted file system.
func (db *DB) openEngine() error {
	db.space = newSpaceGuard(db.fs, hostSpaceOf(db.name))
	db.space.closing = func() bool { return db.ctx.Err() != nil }
	memTable := db.opts.memTableSize(db.space.usable())
	db.space.sizeFor(memTable)
	po := pebbleOptions(&db.opts, memTable)
	po.CompactionConcurrencyRange = db.compactionsAtOnce
	po.L0CompactionFileThreshold = maxL0Files(db.space.usable(), memTable)
	po.L0StopWritesThreshold = db.space.stopWrites
	if err := db.newAdapter(); err != nil {
		return err
	}
	exists, err := checkExistence(db.fs, db.adapter, &db.opts)
	if err != nil {
		return err
	}
	if !exists {
		if err := db.space.roomToBegin(); err != nil {
			return err
		}
	}
	po.FS = db.adapter
	db.events.distrust, db.events.placed, db.space.compactions.placed = db.adapter.Distrust, db.placed, db.placed
	po.EventListener = db.events.listener(db.opts.Logger, db.space)
	engine, err := db.startEngine(po, exists)
	if err != nil {
		return err
	}
	db.engine = engine
	db.space.flushDeletes = func() { _ = db.flush(db.ctx) } // events tell of its error
	db.space.backlog = func() backlog { return backlogOf(engine.Metrics()) }
	db.space.tablesChanged()
	db.space.compactions.start(db.lookForCompactions)
	if exists {
		return nil
	}
	// The engine begins its first log before it takes up its newest format, which has records say how much of the log is
	// durable: without it a damaged record may be taken for the end. So the first log ends here.
	if err := db.flush(db.ctx); err != nil {
		db.space.compactions.stop()
		return errors.Join(err, engine.Close())
	}
	return nil
}

// startEngine opens the engine or makes it.
func (db *DB) startEngine(po *pebble.Options, exists bool) (*pebble.DB, error) {
	if !exists {
		return db.events.open(po, db.adapter)
	}
	ends, err := db.closedEnds()
	if err != nil {
		return nil, err
	}
	if err := db.adapter.CheckLogs(storeDir, db.logCheck(ends)); err != nil && !isNotExist(err) {
		return nil, err
	}
	engine, err := db.events.open(po, db.adapter)
	if err != nil {
		return nil, db.openError(err)
	}
	if err := db.adapter.CheckLogs(storeDir, nil); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	if db.opts.ReadOnly {
		return engine, nil
	}
	if err := db.removeNotes(ends); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return engine, nil
}

// openError says what an error of the engine means.
func (db *DB) openError(err error) error {
	if isNotExist(err) {
		return fmt.Errorf("%w: a file of the engine is missing: %w", ErrCorrupt, err)
	}
	return db.placed(err)
}

// lookForCompactions makes the engine look whether there is something to compact, which it does when its oldest snapshot
// is closed, or has it compact at a key. Errors are those of compactions, which events tell of.
func (db *DB) lookForCompactions(key []byte) {
	s, ok := db.gate.enter()
	if !ok {
		return
	}
	defer db.gate.leave(s)
	if key == nil {
		_ = db.engine.NewSnapshot().Close()
	} else {
		_ = db.compactKeys(db.ctx, key, key)
	}
}

// newAdapter makes the engine's file system with its cache.
func (db *DB) newAdapter() error {
	var err error
	if db.blocks, err = vfsadapter.NewBlockCache(db.opts.CompressedCacheSize); err != nil {
		return err
	}
	o := db.space.adapterOptions()
	o.Cache = db.blocks
	db.adapter = vfsadapter.New(db.fs, o)
	return nil
}

// compactionsAtOnce is one where space is short: together several need more than the reserve has for them, and all fail.
func (db *DB) compactionsAtOnce() (lower, upper int) {
	if db.space.short() {
		return 1, 1
	}
	return compactionConcurrency()
}

// Close waits for running calls and compactions, makes what was written with NoSync durable and closes the store and its
// device. It writes the memtables into tables where there is room, so it takes as long as that: milliseconds for a small
// store, up to a second for four full memtables of the default size. With iterators or snapshots open it fails with
// ErrOpenHandles and changes nothing. A second Close is ErrClosed.
func (db *DB) Close() error {
	db.closing.Lock()
	defer db.closing.Unlock()
	// Looked at twice: before, so that other calls do not meet a gate that is shut for nothing; and behind the gate,
	// where no handle can be opened any more.
	if err := db.openHandles(); err != nil {
		return err
	}
	db.cancel(ErrClosed) // what may take long ends early
	if !db.gate.close() {
		return ErrClosed
	}
	if err := db.openHandles(); err != nil {
		db.live() // nobody is inside the gate to see it change
		db.gate.open()
		return err
	}
	db.space.compactions.stop()
	return wrap(errors.Join(db.closeEngine(), db.blocks.Close(), db.fs.Close(), db.dev.Close()))
}

// closeEngine closes the engine so that what it leaves in logs, if anything, cannot be lost unnoticed.
func (db *DB) closeEngine() error {
	emptied := db.emptyLogs()
	if err := db.engine.Close(); err != nil || emptied {
		return err
	}
	return db.noteLogs()
}

// live makes the context that Close ends.
func (db *DB) live() { db.ctx, db.cancel = context.WithCancelCause(context.Background()) }

func (db *DB) openHandles() error {
	if n := db.handles.Load(); n > 0 {
		return fmt.Errorf("%w: %d of them", ErrOpenHandles, n)
	}
	return nil
}

// Name returns the canonical name of the device.
func (db *DB) Name() string { return db.name }
