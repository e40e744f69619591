package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

const (
	formatText = "text"
	formatJSON = "json"
)

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
