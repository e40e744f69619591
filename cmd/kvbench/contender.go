package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/blobkv/blobkv/internal/procstat"
	"github.com/blobkv/blobkv/internal/size"
)

// contender is one engine with one split of its memory: a process, a store, and what the host knows about both.
type contender struct {
	split
	cfg    engineConfig
	proc   *process
	group  *procstat.MemoryGroup // nil without a limit
	mount  procstat.Mount        // of the file system under the store
	fsName string                // for reports
	disk   *procstat.Disk        // under the store, nil where it is not known
	opened bool                  // its store has been opened in this session

	configured bool   // the process has its configuration
	incomplete string // the row in which the engine died while it filled its store, "" if the store is whole
}

// label tells contenders apart: an engine that runs with two splits is named with its block cache.
func (c *contender) label(others []*contender) string {
	for _, o := range others {
		if o != c && o.Engine == c.Engine {
			return fmt.Sprintf("%s/%dMiB", c.Engine, c.CacheSize>>20)
		}
	}
	return c.Engine
}

// newContender describes an engine; nothing is started or made yet.
func newContender(s *settings, sp split, p place) *contender {
	return &contender{split: sp, cfg: engineConfig{
		Engine:           sp.Engine,
		Place:            p,
		CacheSize:        sp.CacheSize,
		CompressedCache:  sp.Compressed,
		WriteBufferSize:  int64(s.WriteBufferSize),
		Compression:      s.Compression,
		GoMemoryLimit:    goMemoryLimit(s, sp),
		Num:              s.Num,
		Seed:             s.Seed,
		SeekNexts:        s.SeekNexts,
		WriteRate:        int64(s.WriteRate),
		KeySize:          s.KeySize,
		ValueSize:        s.ValueSize,
		CompressionRatio: s.CompressionRatio,
		Sync:             s.Sync,
	}}
}

// inspect asks the host what lies under the store.
func (c *contender) inspect() {
	c.fsName = "memory"
	host := c.cfg.Place.host()
	if c.cfg.Place.Kind == placeDevice {
		c.fsName = "block device" // without a path one that the kernel knows nothing of
	}
	if host == "" {
		return
	}
	if d, err := procstat.DiskOf(host); err == nil {
		c.disk = &d
	}
	if c.cfg.Place.Kind == placeDevice {
		return
	}
	if m, err := procstat.MountOf(host); err == nil {
		c.mount, c.fsName = m, m.String()
	} else {
		c.fsName = "unknown"
	}
}

// start starts the process, named in errors as given, inside a memory cgroup if there is a limit. An error of the cgroup is no error of the
// benchmark: it is returned apart.
func (c *contender) start(name string, memory int64, stderr io.Writer) (groupErr, err error) {
	if c.proc, err = startProcess(name, stderr); err != nil || memory == 0 {
		return nil, err
	}
	cgroup := fmt.Sprintf("kvbench-%d-%d", os.Getpid(), c.proc.pid())
	if c.group, groupErr = procstat.NewMemoryGroup(cgroup, memory); groupErr != nil {
		return groupErr, nil
	}
	if groupErr = c.group.Add(c.proc.pid()); groupErr != nil {
		c.group.Close()
		c.group = nil
	}
	return groupErr, nil
}

// request asks the engine for something; the first one carries its configuration.
func (c *contender) request(ctx context.Context, req request, tell func(progress)) (result, error) {
	if !c.configured {
		req.Config = &c.cfg
	}
	res, err := c.proc.call(ctx.Done(), req, tell)
	if ctx.Err() != nil {
		return result{}, ctx.Err()
	}
	c.configured = c.configured || err == nil
	return res, err
}

// stop closes the store and ends the process.
func (c *contender) stop() error {
	if c.proc == nil {
		return nil
	}
	err := c.proc.close()
	c.proc, c.configured = nil, false
	if c.group != nil {
		if groupErr := c.group.Close(); err == nil {
			err = groupErr
		}
		c.group = nil
	}
	return err
}

// bury takes away what is left of a process that was killed and says who did it.
func (c *contender) bury(memory int64) (why string, err error) {
	why = fmt.Sprintf("killed (%v)", c.proc.cmd.ProcessState)
	if c.group != nil {
		if n, err := c.group.Kills(); err == nil && n > 0 {
			why = "killed by its memory limit of " + size.Human(memory)
		}
		err = c.group.Close()
	}
	c.proc.stdin.Close()
	c.proc, c.group, c.configured = nil, nil, false
	return why, err
}

// diskCounters reads what the disk under the store has moved; ok is false where that is not known.
func (c *contender) diskCounters() (procstat.DiskCounters, bool) {
	if c.disk == nil {
		return procstat.DiskCounters{}, false
	}
	n, err := c.disk.Counters()
	return n, err == nil
}

// usesPageCache says whether the kernel caches the store's data.
func (c *contender) usesPageCache() bool { return c.Engine == engineHostFS }
