package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
	"github.com/blobkv/blobkv/blobstore"
)

// dumpCommand prints raw structures. It opens the device, never the store, so it also works on one that is damaged.
func (c *cli) dumpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dump", Short: "Raw structures of a store, also a damaged one",
		Long: "Print raw structures as text, valid or not, without opening the store. --format does not apply.",
	}
	cmd.AddCommand(
		c.dumpVerb("super", "The superblock", func(dev *bdev.Device) error { return blobstore.DumpSuper(c.stdout, dev) }),
		c.dumpVerb("journal", "The journal: headers, images, frames and their records", func(dev *bdev.Device) error { return blobstore.DumpJournal(c.stdout, dev) }),
		&cobra.Command{Use: "page N", Short: "One metadata page with its descriptors", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return c.dumpPage(args[0]) }},
	)
	return cmd
}

func (c *cli) dumpVerb(name, short string, dump func(*bdev.Device) error) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Args: noArgs, RunE: func(*cobra.Command, []string) error {
		return c.withDevice(open.Options{ReadOnly: true}, dump)
	}}
}

func (c *cli) dumpPage(text string) error {
	page, err := strconv.ParseInt(text, 0, 64)
	if err != nil || page < 0 {
		return usagef("page %q: want the number of a metadata page", text)
	}
	return c.withDevice(open.Options{ReadOnly: true}, func(dev *bdev.Device) error {
		return blobstore.DumpPage(c.stdout, dev, page)
	})
}
