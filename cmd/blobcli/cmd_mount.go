package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/cmd/blobcli/internal/fusemount"
)

// unmountRetry is the pause between two attempts to unmount what is in use.
const unmountRetry = 300 * time.Millisecond

const mountLong = `mount shows the files of the store in DIR, an empty directory, so that cp, diff and other programs can use them. It stays
in the foreground until Ctrl-C, SIGTERM or umount DIR; without root, fusermount3 -u DIR. Exit code 0 then says that
everything is durable and the store is closed. While a program uses DIR an interrupt waits for it to let go.

Read-only unless --rw is given. With it, what a program wrote is durable after fsync, names after fsync of the file or of
any directory, and everything after unmount; a kill -9 of blobcli leaves what was synced, and DIR to umount by hand.

Only the mounting user sees the files, and owns them. There are no permissions (chmod and chown have no effect), symbolic
links, devices or extended attributes. Stores of SPDK's own BlobFS are mounted too, read-only. More: docs/mount.md.`

func (c *cli) mountCommand() *cobra.Command {
	rw := false
	cmd := &cobra.Command{Use: "mount DIR", Short: "Show the files of the store in a directory (Linux, FUSE)", Long: mountLong, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.mount(cmd.Context(), args[0], rw) }}
	cmd.Flags().BoolVar(&rw, "rw", false, "for writing too")
	return cmd
}

// mountView is what mount prints when the files can be used.
type mountView struct {
	Device   string `json:"device"`
	Dir      string `json:"dir"`
	Writable bool   `json:"writable"`
}

func (c *cli) mount(ctx context.Context, dir string, rw bool) error {
	dir, err := mountDir(dir)
	if err != nil {
		return err
	}
	view := mountView{c.device, dir, rw}
	o := fusemount.Options{Source: c.device, Writable: rw, Umask: currentUmask(), Log: c.complain}
	mounted := false
	serve := func(m *fusemount.Mount, err error) error {
		if err != nil {
			return err
		}
		mounted = true
		return c.serve(ctx, m, view)
	}
	err = c.mountOwn(ctx, rw, o, dir, serve)
	if errors.Is(err, blobfs.ErrNotFS) {
		err = c.mountLegacy(ctx, rw, o, dir, err, serve)
	}
	if err != nil && mounted {
		return &lateError{err}
	}
	return err
}

// mountDir is the directory without symbolic links, as the kernel will name it, if it can be mounted on.
func mountDir(dir string) (string, error) {
	if err := fusemount.Precheck(dir); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// mountOwn mounts our file system and serves it. Everything is durable when it returns nil.
func (c *cli) mountOwn(ctx context.Context, rw bool, o fusemount.Options, dir string, serve func(*fusemount.Mount, error) error) error {
	return c.withFS(rw, func(fs *blobfs.FS) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if why := fs.ReadOnlyReason(); rw && why != "" {
			return fmt.Errorf("%w: %s; mount it without --rw", blobfs.ErrReadOnly, why)
		}
		if damage := fs.Damage(); damage != nil {
			c.complain(fmt.Sprintf("damage: %v; files may be missing, blobcli check lists everything", damage))
		}
		return serve(fusemount.New(fs, dir, o))
	})
}

// mountLegacy mounts SPDK's BlobFS; if it is not that either, the first error stands.
func (c *cli) mountLegacy(ctx context.Context, rw bool, o fusemount.Options, dir string, notOurs error, serve func(*fusemount.Mount, error) error) error {
	return c.withDevice(open.Options{ReadOnly: true}, func(dev *bdev.Device) error {
		s, err := blobstore.Open(dev, blobstore.OpenOptions{ReadOnly: true, Type: blobfs.LegacyType})
		if err != nil {
			return notOurs
		}
		l, err := blobfs.OpenLegacy(s)
		switch {
		case err != nil:
		case rw:
			err = fmt.Errorf("%w: this is SPDK's own BlobFS, which can only be read; mount it without --rw", blobfs.ErrReadOnly)
		case ctx.Err() != nil:
			err = ctx.Err()
		default:
			for _, p := range l.Problems() {
				c.complain(fmt.Sprintf("blob %v: %v", p.Blob, p.Err))
			}
			err = serve(fusemount.NewLegacy(l, dir, o))
		}
		return errors.Join(err, s.Close())
	})
}

// serve says what is mounted and returns once it is not any more.
func (c *cli) serve(ctx context.Context, m *fusemount.Mount, view mountView) error {
	for _, name := range m.Skipped() {
		c.complain(fmt.Sprintf("%q cannot be shown: part of its name is a file; cat and get read it", name))
	}
	err := c.print(view, func(w io.Writer) { fmt.Fprintln(w, view.text()) })
	select {
	case <-m.Done():
	case <-ctx.Done():
		c.unmount(m)
	}
	return err
}

func (v mountView) text() string {
	access, end := "read-only", "umount"
	if v.Writable {
		access = "for reading and writing"
	}
	if os.Geteuid() != 0 {
		end = "fusermount3 -u"
	}
	return fmt.Sprintf("%s is mounted on %s, %s. Ctrl-C or %s %s ends it.", v.Device, v.Dir, access, end, v.Dir)
}

// unmount tries until it is unmounted, by us or by somebody else, and says what it waits for. There is no other way out:
// a program that has a file open may still write to it.
func (c *cli) unmount(m *fusemount.Mount) {
	said := ""
	for {
		err := m.Unmount()
		if err == nil {
			return
		}
		if text := err.Error(); text != said {
			said = text
			c.complain(text + "; waiting until it can be unmounted")
		}
		select {
		case <-m.Done():
			return
		case <-time.After(unmountRetry):
		}
	}
}

// complain prints what a person should know and no program is told.
func (c *cli) complain(message string) { fmt.Fprintln(c.stderr, "blobcli:", message) }
