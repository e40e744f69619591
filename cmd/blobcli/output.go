package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"text/tabwriter"
)

const (
	formatText = "text"
	formatJSON = "json"
)

// output is standard output. It alone says errReaderGone: a pipe that breaks may also be the way to a device.
type output struct{ w io.Writer }

func (o output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = fmt.Errorf("%w: %w", errReaderGone, err)
	}
	return n, err
}

// print writes v as one line of JSON, or has text write it for people.
func (c *cli) print(v any, text func(w io.Writer)) error {
	if c.format == formatJSON {
		return json.NewEncoder(c.stdout).Encode(v)
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	text(w)
	return w.Flush()
}

// row writes tab-separated cells.
func row(w io.Writer, cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, cell)
	}
	fmt.Fprintln(w)
}
