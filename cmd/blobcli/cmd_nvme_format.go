package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// errNotConfirmed is what a person did not agree to.
var errNotConfirmed = errors.New("not confirmed, nothing was changed")

// formatFlags are the flags of nvme format.
type formatFlags struct {
	ns         uint32
	block      int
	metadata   int
	protection uint8
	erase      string
	yes        bool
}

// erasures are the values of --erase.
var erasures = map[string]uint8{"none": spec.EraseNone, "user": spec.EraseUser, "crypto": spec.EraseCrypto}

func (c *cli) nvmeFormatCommand() *cobra.Command {
	f := &formatFlags{erase: "none"}
	cmd := &cobra.Command{
		Use: "format " + controllerArg, Short: "Format a namespace: everything on it is lost", Args: cobra.ExactArgs(1),
		Long: `Format a namespace: everything on it is lost, at once and for good. It says what it is about to erase and asks; --yes answers.

The block size stays as it is unless --block says another one that the controller offers (see identify). Metadata is left out
unless asked for: a store needs none.`,
		Example: `  blobcli nvme format 0000:01:00.0 --ns 1 --block 4096`,
		RunE: func(_ *cobra.Command, args []string) error {
			return c.withController(args[0], func(ctrl *nvme.Controller) error { return c.nvmeFormat(ctrl, f) })
		},
	}
	flags := cmd.Flags()
	flags.Uint32Var(&f.ns, "ns", 0, "namespace; needed when there are several")
	flags.IntVar(&f.block, "block", 0, "bytes of a block: 512, 4096, …; 0 leaves it as it is")
	flags.IntVar(&f.metadata, "metadata", 0, "bytes of metadata for each block")
	flags.Uint8Var(&f.protection, "protection", 0, "type of end-to-end protection, 1 to 3; needs --metadata 8 or more")
	flags.StringVar(&f.erase, "erase", f.erase, "what happens to the old data: none, user (overwritten or unmapped), crypto (its key is destroyed)")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	return cmd
}

func (c *cli) nvmeFormat(ctrl *nvme.Controller, f *formatFlags) error {
	ns, err := f.namespace(ctrl)
	if err != nil {
		return err
	}
	info := ns.Info()
	if info == nil {
		return fmt.Errorf("%s: namespace %d: %w", ctrl.Name(), ns.ID(), nvme.ErrNoNamespace)
	}
	o, err := f.options(info)
	if err != nil {
		return err
	}
	if !f.yes {
		if err := c.confirm(formatQuestion(ctrl.Identify(), ctrl.Name(), info, o.Erase)); err != nil {
			return err
		}
	}
	if err := ctrl.Format(ns.ID(), o); err != nil {
		return err
	}
	if info = ns.Info(); info == nil {
		return fmt.Errorf("%s: namespace %d is not usable after the format: %w", ctrl.Name(), ns.ID(), nvme.ErrNoNamespace)
	}
	v := identityOf(info)
	return c.print(v, func(w io.Writer) {
		row(w, fmt.Sprintf("formatted namespace %d: %s in blocks of %d bytes", v.ID, size.Human(v.Size), v.BlockSize))
	})
}

// namespace finds the one that is meant.
func (f *formatFlags) namespace(ctrl *nvme.Controller) (*nvme.Namespace, error) {
	if f.ns != 0 {
		return ctrl.Namespace(f.ns)
	}
	all := ctrl.Namespaces()
	if len(all) != 1 {
		return nil, usagef("%s has %d usable namespaces: say which with --ns", ctrl.Name(), len(all))
	}
	return all[0], nil
}

// options finds the format that was asked for, the fastest of several.
func (f *formatFlags) options(n *nvme.NamespaceInfo) (nvme.FormatOptions, error) {
	erase, known := erasures[f.erase]
	if !known {
		return nvme.FormatOptions{}, usagef("--erase %q: want none, user or crypto", f.erase)
	}
	if f.protection > 3 || f.protection > 0 && f.metadata < spec.PISize {
		return nvme.FormatOptions{}, usagef("--protection %d with %d bytes of metadata: want a type from 1 to 3 and 8 bytes at least", f.protection, f.metadata)
	}
	block := f.block
	if block == 0 {
		block = n.BlockSize
	}
	best := -1
	formats := n.Identify.LBAF[:min(int(n.Identify.NLBAF)+1, len(n.Identify.LBAF))]
	for i, l := range formats {
		if l.LBADS >= 9 && l.LBADS < 31 && 1<<l.LBADS == block && int(l.MS) == f.metadata && (best < 0 || l.RP < formats[best].RP) {
			best = i
		}
	}
	if best < 0 {
		return nvme.FormatOptions{}, usagef("namespace %d has no format of blocks of %d bytes with %d bytes of metadata (blobcli nvme identify lists them)",
			n.ID, block, f.metadata)
	}
	return nvme.FormatOptions{Format: best, Protection: f.protection, Erase: erase}, nil
}

// formatQuestion says what will be lost. Some controllers format, or erase, all namespaces when told to do it to one (FNA,
// base 2.0, figure 275), detached ones and those of other hosts with them.
func formatQuestion(id *spec.IdentifyController, name string, n *nvme.NamespaceInfo, erase uint8) string {
	what := fmt.Sprintf("namespace %d (%s)", n.ID, size.Human(int64(n.Blocks)*int64(n.BlockSize)))
	switch {
	case id.FNA&spec.FNAFormatAll != 0:
		what += " and ALL other namespaces (this controller formats them together)"
	case erase != spec.EraseNone && id.FNA&spec.FNAEraseAll != 0:
		what += " and ALL other namespaces (this controller erases them together)"
	}
	return fmt.Sprintf("Everything on %s of %s, serial %s, at %s will be lost.", what, id.Model(), id.Serial(), name)
}

// confirm asks a person. Whoever does not answer yes, in full, has not agreed.
func (c *cli) confirm(what string) error {
	fmt.Fprintf(c.stderr, "%s\nType yes to go on: ", what)
	answer, err := c.answer()
	switch {
	case c.ctx.Err() != nil:
		fmt.Fprintln(c.stderr) // behind the question
		return errNotConfirmed
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("reading the answer: %w", err)
	case strings.TrimSpace(answer) != "yes":
		return errNotConfirmed
	}
	return nil
}

// answer reads a line. An interrupt ends the wait for it, though not the read of a terminal, which the end of the process does.
func (c *cli) answer() (string, error) {
	read := make(chan struct{})
	var text string
	var failed error
	go func() {
		defer close(read)
		text, failed = bufio.NewReader(c.stdin).ReadString('\n')
	}()
	select {
	case <-read:
		return text, failed
	case <-c.ctx.Done():
		return "", c.ctx.Err()
	}
}
