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
)

func (c *cli) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Check all metadata: superblock, journal, blobs, names and lengths", Args: noArgs,
		Long: `Check all metadata and print every finding, their number, and OK if nothing is damaged. Nothing is changed: a store that
was not closed cleanly is recovered in memory and checked as recovered.`,
		RunE: func(*cobra.Command, []string) error { return c.check() },
	}
}

// checkView is the JSON of check.
type checkView struct {
	Device   string        `json:"device"`
	OK       bool          `json:"ok"`
	Type     string        `json:"type"`
	Blobs    int           `json:"blobs"`
	Refused  int           `json:"refused"`
	Bad      int           `json:"bad"`
	Files    int64         `json:"files"`
	Dirs     int64         `json:"dirs"`
	Findings []findingView `json:"findings"`
}

type findingView struct {
	Severity string `json:"severity"`
	Blob     string `json:"blob,omitempty"`
	Text     string `json:"text"`
	Offset   *int64 `json:"offset,omitempty"` // bytes on the device, where the finding has a place
}

func (c *cli) check() error {
	return c.withDevice(open.Options{ReadOnly: true}, func(dev *bdev.Device) error {
		line := c.progressLine()
		report, err := blobfs.Check(dev, blobstore.CheckOptions{Progress: line.percent("checking")})
		line.clear()
		if err != nil {
			return err
		}
		if err := noStore(report.Findings); err != nil {
			return err
		}
		v := viewReport(report)
		if err := c.print(v, v.text); err != nil {
			return err
		}
		if !v.OK {
			return errFindings
		}
		return nil
	})
}

// noStore is the error of a device on which there is nothing to check.
func noStore(findings []blobstore.Finding) error {
	for _, f := range findings {
		for _, kind := range []error{blobstore.ErrNotBlobstore, blobstore.ErrNewerVersion} {
			if errors.Is(f.Err, kind) {
				return f.Err
			}
		}
	}
	return nil
}

func viewReport(r *blobfs.Report) checkView {
	v := checkView{
		Device: r.Device, OK: r.OK(), Type: r.Info.Type, Blobs: r.Blobs, Refused: r.Refused, Bad: r.Bad,
		Files: r.Files, Dirs: r.Dirs, Findings: []findingView{},
	}
	for _, f := range r.Findings {
		fv := findingView{Severity: f.Severity.String(), Text: f.Err.Error()}
		if f.Blob != 0 {
			fv.Blob = f.Blob.String()
		}
		var corrupt *blobstore.CorruptError
		if errors.As(f.Err, &corrupt) {
			fv.Offset = &corrupt.Offset
		}
		v.Findings = append(v.Findings, fv)
	}
	return v
}

func (v checkView) text(w io.Writer) {
	for _, f := range v.Findings {
		if f.Blob != "" {
			f.Blob = "blob " + f.Blob + ": "
		}
		fmt.Fprintf(w, "%s: %s%s\n", f.Severity, f.Blob, f.Text)
	}
	files := ""
	if v.Dirs > 0 { // a file system of ours has a root at least
		files = fmt.Sprintf(" %d files, %d directories,", v.Files, v.Dirs)
	}
	fmt.Fprintf(w, "%s: %d blobs (%d refused, %d damaged),%s %d findings\n",
		v.Device, v.Blobs, v.Refused, v.Bad, files, len(v.Findings))
	if v.OK {
		fmt.Fprintln(w, "OK")
	} else {
		fmt.Fprintln(w, "DAMAGED")
	}
}
