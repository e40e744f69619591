package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/blobkv/blobkv/internal/procstat"
)

// session is one run of kvbench.
type session struct {
	settings
	rows       []rowPlan
	contenders []*contender
	made       madeFiles
	loop       *loopHost // nil without --loop
	out        reporter
	progress   *progressLine
	notes      []string // what a reader of the figures should know
	cold       bool     // the page cache is dropped before each row
	limited    bool     // every contender is in a memory cgroup of --memory
	measured   bool     // a row has been completed
	described  bool     // the header has been printed
	lost       []string // rows of engines that were killed
	stderr     io.Writer
	cleanup    []func() error // what must not outlive the run, in the order of its making
}

// runBench runs everything the command line asks for.
func runBench(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	se, err := newSession(ctx, s, stdout, stderr)
	if err != nil {
		return err
	}
	defer func() { err = se.finish(ctx, err) }()
	if err := se.startEngines(); err != nil {
		return err
	}
	for _, p := range se.rows {
		if err := se.row(ctx, p); err != nil {
			return err
		}
	}
	return se.lostError()
}

// newSession checks the command line and finds out what is there, without changing anything but an empty temp folder.
func newSession(ctx context.Context, s settings, stdout, stderr io.Writer) (*session, error) {
	rows, err := parseBenchmarks(s.Benchmarks)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.sizeData(rows), s.validate()); err != nil {
		return nil, err
	}
	se := &session{settings: s, stderr: stderr, progress: newProgressLine(stderr)}
	se.out = newReporter(s.Format, stdout, stderr)
	if rows, err = se.usableRows(rows); err != nil {
		return nil, err
	}
	se.rows = planRows(rows, se.Threads)
	if err := se.plan(ctx); err != nil {
		se.progress.stop()
		return nil, errors.Join(err, se.made.remove(), se.cleanUp())
	}
	return se, nil
}

// plan decides where the stores lie and how memory is split.
func (se *session) plan(ctx context.Context) error {
	splits, err := splitsFor(&se.settings)
	if err != nil {
		return err
	}
	ours, err := se.ourPlace(ctx)
	if err != nil {
		return err
	}
	if ours.Kind == placeRAM && slices.ContainsFunc(se.rows, func(p rowPlan) bool { return p.files }) {
		return usagef("smallfiles closes the store to open the file system below it, and a store in RAM is gone then: name an image with --device")
	}
	places := map[string]place{engineBlobKV: ours}
	if se.VS != "" {
		if places[engineHostFS], err = se.hostPlace(ours); err != nil {
			return err
		}
	}
	for _, sp := range splits {
		p := places[sp.Engine]
		if sp.Name != "" {
			p.Path += "-" + sp.Name // a store for each split
		}
		se.contenders = append(se.contenders, newContender(&se.settings, sp, p))
	}
	if se.Bound {
		if err := se.planBound(ours); err != nil {
			return err
		}
	}
	return se.checkExisting()
}

// ourPlace is the device asked for, or a fresh image in the temp folder.
func (se *session) ourPlace(ctx context.Context) (p place, err error) {
	if se.Loop > 0 {
		se.loop, err = se.planLoop(ctx)
		if err != nil {
			return place{}, err
		}
		return se.loop.ours, nil
	}
	if se.Device != "" {
		return locate(se.Device)
	}
	if se.UseExistingDB {
		return place{}, usagef("--use_existing_db needs --device: which store?")
	}
	dir, err := os.MkdirTemp("", "kvbench-")
	if err != nil {
		return place{}, err
	}
	se.made.add(dir)
	return locate(defaultDevice(filepath.Join(dir, "store.img")))
}

// hostPlace is the folder of the host engine's store: below the one that is named, or below the image's.
func (se *session) hostPlace(ours place) (place, error) {
	_, dir, err := parseVS(se.VS)
	if err != nil {
		return place{}, err
	}
	if se.loop != nil {
		dir = se.loop.hostDir
	}
	if dir == "" {
		if ours.Kind != placeImage {
			return place{}, usagef("--vs %s needs a folder on the disk to compare with, as in %s:DIR, because %s is not an image file", se.VS, se.VS, ours)
		}
		dir = filepath.Dir(ours.Path)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return place{}, err
	}
	return place{Kind: placeFolder, Path: filepath.Join(dir, "kvbench-hostfs")}, nil
}

// checkExisting refuses stores that are in the way, and stores that are not there but should be.
func (se *session) checkExisting() error {
	for _, c := range se.contenders {
		if c.reference() {
			continue
		}
		p := c.cfg.Place
		there, err := p.exists()
		switch {
		case err != nil:
			return err
		case there && !se.UseExistingDB && !se.Destroy:
			return existsError(p)
		case !there && se.UseExistingDB && p.Kind != placeDevice:
			return usagef("%s does not exist, and --use_existing_db asks for what is there", p)
		}
		if !there {
			se.made.addPlace(p)
		}
	}
	return nil
}

// startEngines starts the processes and finds out what the host permits.
func (se *session) startEngines() error {
	se.limited = se.Memory > 0
	for _, c := range se.contenders {
		p := c.cfg.Place
		if p.Kind == placeFolder && !se.UseExistingDB {
			if there, err := p.exists(); err != nil {
				return err
			} else if !there {
				if err := p.makeFolder(); err != nil {
					return err
				}
			}
		}
		c.inspect()
		groupErr, err := c.start(c.label(se.contenders), se.limitOf(c), se.stderr)
		if err != nil {
			return err
		}
		if groupErr != nil {
			se.limited = false
			c.PageCache = 0
			se.notes = append(se.notes, fmt.Sprintf("no memory cgroup (%v): --memory sets the caches but nothing limits the page cache", groupErr))
		}
	}
	se.cold = se.tryDropCaches() == nil
	return nil
}

// limitOf is the memory of a contender's cgroup, 0 if it gets none.
func (se *session) limitOf(c *contender) int64 {
	if !se.limited || c.reference() {
		return 0
	}
	return int64(se.Memory)
}

// tryDropCaches empties the page cache where it matters and is permitted.
func (se *session) tryDropCaches() error {
	if !se.DropCaches || !slices.ContainsFunc(se.contenders, (*contender).usesPageCache) {
		return procstat.ErrUnsupported
	}
	if err := procstat.DropPageCache(); err == nil {
		return nil
	}
	for _, c := range se.contenders {
		if host := c.cfg.Place; host.Kind == placeFolder {
			if err := procstat.DropFiles(host.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// cleanUp takes away what only the run needed, newest first.
func (se *session) cleanUp() error {
	var errs []error
	for _, f := range slices.Backward(se.cleanup) {
		errs = append(errs, f())
	}
	se.cleanup = nil
	return errors.Join(errs...)
}

// finish ends the processes and removes or keeps what was made.
func (se *session) finish(ctx context.Context, err error) error {
	se.progress.stop()
	for _, c := range se.contenders {
		if closeErr := c.stop(); closeErr != nil && err == nil {
			err = closeErr
		}
	}
	whole := ctx.Err() == nil && (err == nil || errors.Is(err, errIncomplete))
	if ctx.Err() != nil || !se.measured || whole && !se.Keep {
		err = errors.Join(err, se.made.remove())
	} else if whole {
		se.out.footer(se.farewell())
	}
	return errors.Join(err, se.cleanUp())
}
