package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/blobkv/blobkv/internal/loopdev"
	"github.com/blobkv/blobkv/internal/procstat"
)

// loopHost is the second host: an ext4 with a journal on a loop device for the host engine, and for ours the bare device
// beside it, of the same size, over a file on the same file system.
type loopHost struct {
	ours, scratch place
	hostDir       string
	below         string // the file system that holds the files
}

// planLoop makes the devices in the folder of --vs, or in the temp folder, and mounts the file system. All of it is
// taken away at the end of the run, however it ends.
func (se *session) planLoop(ctx context.Context) (*loopHost, error) {
	_, dir, err := parseVS(se.VS)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(dir, "kvbench-loop-") // "" is the temp folder
	if err != nil {
		return nil, err
	}
	mount := filepath.Join(folder, "ext4")
	se.cleanup = append(se.cleanup, func() error { return os.Remove(folder) })
	h := &loopHost{hostDir: mount}
	if m, err := procstat.MountOf(folder); err == nil {
		h.below = m.String()
	}
	if h.ours, err = se.loopPlace(ctx, folder, int64(se.Loop)); err != nil {
		return nil, err
	}
	if se.Bound {
		if h.scratch, err = se.loopPlace(ctx, folder, scratchSize); err != nil {
			return nil, err
		}
	}
	return h, se.mountLoop(ctx, folder, mount)
}

// loopPlace makes a device that is closed at the end.
func (se *session) loopPlace(ctx context.Context, folder string, size int64) (place, error) {
	d, err := se.loopDevice(ctx, folder, size)
	if err != nil {
		return place{}, err
	}
	return locate(defaultDevice(d.Path))
}

func (se *session) loopDevice(ctx context.Context, folder string, size int64) (*loopdev.Device, error) {
	se.progress.show(fmt.Sprintf("making a loop device of %s", &se.Loop))
	d, err := loopdev.New(ctx, folder, size)
	if errors.Is(err, loopdev.ErrUnavailable) {
		return nil, usagef("--loop: %v", err)
	}
	if err != nil {
		return nil, err
	}
	se.cleanup = append(se.cleanup, d.Close)
	return d, nil
}

func (se *session) mountLoop(ctx context.Context, folder, mount string) error {
	d, err := se.loopDevice(ctx, folder, int64(se.Loop))
	if err != nil {
		return err
	}
	if err := os.Mkdir(mount, 0o700); err != nil {
		return err
	}
	se.cleanup = append(se.cleanup, func() error { return os.Remove(mount) })
	unmount, err := d.MountExt4(ctx, mount)
	if errors.Is(err, loopdev.ErrUnavailable) {
		return usagef("--loop: %v", err)
	}
	if err != nil {
		return err
	}
	se.cleanup = append(se.cleanup, unmount)
	return nil
}

// validateLoop refuses what would name other devices than those that are made.
func (s *settings) validateLoop() error {
	switch {
	case s.Loop == 0:
		return nil
	case s.VS == "":
		return usagef("--loop makes devices to compare on: it needs --vs %s", engineHostFS)
	case s.Device != "" || s.UseExistingDB || s.Destroy:
		return usagef("--loop makes its own devices: leave out --device, --use_existing_db and --destroy")
	case s.Loop < minLoop:
		return usagef("--loop %v: expected 256MiB at least", &s.Loop)
	}
	return nil
}

const minLoop = 256 << 20
