package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/blobstore"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

func (c *cli) blobCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "blob", Short: "Blobs, the objects of the store"}
	force := false
	export := &cobra.Command{Use: "export ID TARGET", Short: "Copy the content of a blob to a file (- for standard output)", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.blobExport(cmd.Context(), args[0], args[1], force)
		}}
	export.Flags().BoolVarP(&force, "force", "f", false, "replace the target")
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "Every blob, also damaged ones and those that are refused", Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return c.blobList() }},
		&cobra.Command{Use: "show ID", Short: "Flags, attributes, extents and metadata pages of a blob", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return c.blobShow(args[0]) }},
		export,
	)
	return cmd
}

// blobView is the JSON of a blob.
type blobView struct {
	ID        string             `json:"id"`
	Clusters  int64              `json:"clusters"`
	Allocated int64              `json:"allocated_clusters"`
	Bytes     int64              `json:"bytes"`
	Flags     [3]uint64          `json:"flags"` // invalid, data_ro, md_ro
	Xattrs    map[string][]byte  `json:"xattrs"`
	Internal  map[string][]byte  `json:"internal_xattrs"`
	Extents   []blobstore.Extent `json:"extents,omitempty"`
	Pages     []int64            `json:"md_pages,omitempty"`
	Refused   string             `json:"refused,omitempty"`
}

func viewBlob(s *blobstore.Store, id blobstore.BlobID) (blobView, error) {
	i, err := s.Stat(id)
	if err != nil {
		return blobView{}, err
	}
	v := blobView{
		ID: i.ID.String(), Clusters: i.Clusters, Allocated: i.Allocated, Bytes: i.Clusters * int64(s.ClusterSize()),
		Flags: i.Flags, Xattrs: i.Xattrs, Internal: i.Internal, Extents: i.Extents, Pages: i.Pages,
	}
	if i.Refused != nil {
		v.Refused = i.Refused.Error()
	}
	return v, nil
}

func (c *cli) blobList() error {
	return c.withStore(func(s *blobstore.Store) error {
		views := []blobView{}
		for _, id := range s.IDs() {
			v, err := viewBlob(s, id)
			if err != nil {
				return err
			}
			v.Extents, v.Pages = nil, nil
			views = append(views, v)
		}
		return c.print(views, func(w io.Writer) {
			row(w, "ID", "CLUSTERS", "ALLOCATED", "XATTRS", "REMARK")
			for _, v := range views {
				row(w, v.ID, v.Clusters, v.Allocated, len(v.Xattrs), v.Refused)
			}
		})
	})
}

func (c *cli) blobShow(text string) error {
	id, err := parseBlobID(text)
	if err != nil {
		return err
	}
	return c.withStore(func(s *blobstore.Store) error {
		v, err := viewBlob(s, id)
		if err != nil {
			return err
		}
		return c.print(v, func(w io.Writer) { printBlob(w, v) })
	})
}

func printBlob(w io.Writer, v blobView) {
	row(w, "blob", v.ID)
	if v.Refused != "" {
		row(w, "refused", v.Refused)
	}
	row(w, "clusters", fmt.Sprintf("%d (%d bytes), %d allocated", v.Clusters, v.Bytes, v.Allocated))
	row(w, "flags", fmt.Sprintf("invalid %#x  data_ro %#x  md_ro %#x", v.Flags[0], v.Flags[1], v.Flags[2]))
	row(w, "metadata pages", strings.Trim(fmt.Sprint(v.Pages), "[]"))
	printXattrs(w, "xattr", v.Xattrs)
	printXattrs(w, "internal xattr", v.Internal)
	for _, e := range v.Extents {
		where := fmt.Sprintf("device clusters %d to %d", e.Physical, e.Physical+e.Count-1)
		if e.Physical == 0 {
			where = "not allocated"
		}
		row(w, "extent", fmt.Sprintf("clusters %d to %d: %s", e.Logical, e.Logical+e.Count-1, where))
	}
}

func printXattrs(w io.Writer, what string, xattrs map[string][]byte) {
	names := make([]string, 0, len(xattrs))
	for name := range xattrs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		row(w, what, fmt.Sprintf("%s = %s", name, printable(xattrs[name])))
	}
}

// printable quotes a value that is text and shows the bytes of one that is not, at most 64 of them.
func printable(value []byte) string {
	const most = 64
	shown, more := value, ""
	if len(shown) > most {
		shown, more = shown[:most], fmt.Sprintf(" … (%d bytes)", len(value))
	}
	for _, b := range shown {
		if (b < ' ' || b > '~') && b != 0 {
			return fmt.Sprintf("% x%s", shown, more)
		}
	}
	return fmt.Sprintf("%q%s", shown, more)
}

// parseBlobID reads an id as list prints it; a number below 2^32 is taken for the metadata page, as SPDK's tools do.
func parseBlobID(text string) (blobstore.BlobID, error) {
	if page, err := strconv.ParseUint(text, 0, 32); err == nil {
		return blobstore.BlobID(1<<32 | page), nil
	}
	id, err := blobstore.ParseBlobID(text)
	if err != nil {
		return 0, &usageError{err}
	}
	return id, nil
}

func (c *cli) blobExport(ctx context.Context, text, target string, force bool) error {
	id, err := parseBlobID(text)
	if err != nil {
		return err
	}
	return c.withStore(func(s *blobstore.Store) error {
		blob, err := s.Blob(id)
		if err != nil {
			return err
		}
		if target == "-" {
			return c.exportTo(ctx, c.stdout, blob)
		}
		flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
		if force {
			flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		}
		out, err := os.OpenFile(target, flags, 0o600)
		if err != nil {
			return hintForce(err)
		}
		if err := errors.Join(c.exportTo(ctx, out, blob), out.Close()); err != nil {
			return errors.Join(err, os.Remove(target))
		}
		return nil
	})
}

// exportTo writes the whole content of a blob.
func (c *cli) exportTo(ctx context.Context, w io.Writer, blob *blobstore.Blob) error {
	line := c.progressLine()
	defer line.clear()
	buf := dmabuf.Default.Get(1 << 20)
	defer dmabuf.Default.Put(buf)
	for off := int64(0); off < blob.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := buf[:min(int64(len(buf)), blob.Size()-off)]
		if err := blob.Read(part, off); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
		off += int64(len(part))
		line.show("exporting %d %%", off*100/blob.Size())
	}
	return nil
}
