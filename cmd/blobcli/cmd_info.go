package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/size"
)

func (c *cli) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use: "info", Short: "What the store is: type, sizes, journal, state", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return c.withStore(func(s *blobstore.Store) error {
				info := s.Info()
				return c.print(info, func(w io.Writer) { printInfo(w, info) })
			})
		},
	}
}

func printInfo(w io.Writer, i blobstore.Info) {
	cluster := int64(i.ClusterSize)
	bytes := func(n int64) string { return fmt.Sprintf("%s (%d bytes)", size.Human(n), n) }
	row(w, "device", i.Device)
	row(w, "type", fmt.Sprintf("%q", i.Type))
	row(w, "format version", i.Version)
	row(w, "state", stateText(i))
	if i.UUID != "" {
		row(w, "uuid", i.UUID)
	}
	row(w, "size", bytes(i.Size))
	row(w, "free", bytes(i.FreeClusters*cluster))
	row(w, "cluster", bytes(cluster))
	row(w, "clusters", fmt.Sprintf("%d, %d free, %d metadata", i.Clusters, i.FreeClusters, i.MetadataClusters))
	row(w, "metadata pages", fmt.Sprintf("%d from page %d, %d used", i.MDPages, i.MDStart, i.UsedMDPages))
	row(w, "io unit", fmt.Sprintf("%d bytes", i.IOUnit))
	row(w, "blobs", fmt.Sprintf("%d, %d damaged", i.Blobs, i.BadBlobs))
	if i.SuperBlob != 0 {
		row(w, "super blob", i.SuperBlob)
	}
	if i.Journal == 0 {
		row(w, "journal", "none (made at the first open for writing)")
		return
	}
	row(w, "journal", fmt.Sprintf("blob %v, %s (dump journal shows what is in it)", i.Journal, size.Human(i.JournalSize)))
}

func stateText(i blobstore.Info) string {
	switch {
	case i.Clean:
		return "closed cleanly"
	case i.Recovered:
		if i.Journal == 0 {
			return "not closed cleanly; recovered in memory"
		}
		return fmt.Sprintf("not closed cleanly; recovered in memory, %d transactions from the journal", i.Replayed)
	}
	return "not closed cleanly"
}
