package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/size"
)

// initFlags are the flags of init.
type initFlags struct {
	cluster, journal string
	mdPages          int
	raw, force       bool
	bstype           string
}

func (c *cli) initCommand() *cobra.Command {
	f := &initFlags{}
	cmd := &cobra.Command{
		Use: "init", Short: "Make a new, empty store on the device", Args: noArgs,
		Long: `Make a new, empty store on the device: a file system that kv and the fs commands use, or with --raw a bare blobstore.

An image file is created if there is none (give its size: aio:/x.img?size=64GiB). A partition table, a file system, another
store and any other data in the first or last MiB of the device are refused, by name where they have one. What lies only
between is not looked for. --force overwrites what is there.`,
		RunE: func(*cobra.Command, []string) error { return c.init(f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.cluster, "cluster-size", "", "bytes in a cluster (default 1MiB, 256KiB below 4GiB, 64KiB below 512MiB)")
	flags.StringVar(&f.journal, "journal-size", "", "bytes of the metadata journal (default by device size)")
	flags.IntVar(&f.mdPages, "md-pages", 0, "metadata pages, at least one for each file (default by device size)")
	flags.BoolVar(&f.raw, "raw", false, "a bare blobstore without a file system")
	flags.StringVar(&f.bstype, "type", "", "with --raw: the store's type, up to 16 bytes")
	flags.BoolVar(&f.force, "force", false, "overwrite what the device holds")
	return cmd
}

func (f *initFlags) options() (blobstore.FormatOptions, error) {
	o := blobstore.FormatOptions{MDPages: f.mdPages, Type: f.bstype, Force: f.force}
	if f.bstype != "" && !f.raw {
		return o, usagef("--type goes with --raw: a file system has its own type")
	}
	if f.cluster != "" {
		n, err := size.Parse(f.cluster)
		if err != nil {
			return o, usagef("--cluster-size: %w", err)
		}
		o.ClusterSize = int(n)
	}
	if f.journal != "" {
		n, err := size.Parse(f.journal)
		if err != nil {
			return o, usagef("--journal-size: %w", err)
		}
		o.JournalSize = n
	}
	return o, nil
}

func (c *cli) init(f *initFlags) error {
	o, err := f.options()
	if err != nil {
		return err
	}
	return c.withNewDevice(func(dev *bdev.Device) error {
		if !f.force && holdsStore(dev) {
			return fmt.Errorf("%s: %w: a store with all that is in it (init --force makes it anew)", dev.Name(), blobstore.ErrOccupied)
		}
		line := c.progressLine()
		o.Progress = line.percent("formatting")
		if f.raw {
			err = blobstore.Format(dev, o)
		} else {
			err = blobfs.Format(dev, blobfs.FormatOptions{FormatOptions: o})
		}
		line.clear()
		if errors.Is(err, blobstore.ErrOccupied) {
			return fmt.Errorf("%w (init --force overwrites it)", err)
		}
		if errors.Is(err, bdev.ErrNoSpace) {
			return fmt.Errorf("%w: %s", err, open.HostFullAdvice)
		}
		if err != nil {
			return err
		}
		v := struct {
			Device string `json:"device"`
			Size   int64  `json:"size"`
		}{dev.Name(), dev.Size()}
		return c.print(v, func(w io.Writer) {
			row(w, fmt.Sprintf("made a store of %s on %s", size.Human(v.Size), v.Device))
		})
	})
}

// holdsStore tells whether the device holds a store that opens. blobstore.Format replaces one of ours without asking;
// a person who types init may not know that it is there.
func holdsStore(dev *bdev.Device) bool {
	s, err := blobstore.Open(dev, blobstore.OpenOptions{ReadOnly: true})
	if err != nil {
		return false
	}
	return s.Close() == nil
}
