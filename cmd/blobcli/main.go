package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{stdin: stdin, stdout: stdout, stderr: stderr}
	root := c.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if !isSilent(err) {
		fmt.Fprintln(stderr, "blobcli:", err)
	}
	return exitCode(ctx, err)
}

// cli is what every command shares: the streams and the global flags.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	device         string
	format         string
}

const long = `blobcli looks into a store, checks it, moves files in and out, and measures the device below it.

A device is one string: aio:/var/lib/app/store.img, file:/x.img, malloc:1GiB, or a bare path.
Everything is read-only unless the verb writes (init, put, rm, bdev perf with writes).

Exit codes:
` + exitCodeHelp

func (c *cli) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "blobcli",
		Short:         "Look into a store and the device below it",
		Long:          long,
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if c.format != formatText && c.format != formatJSON {
				return usagef("--format %q: want %s or %s", c.format, formatText, formatJSON)
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.PersistentFlags().StringVarP(&c.device, "device", "d", "", "device that holds the store, e.g. aio:/tmp/store.img")
	root.PersistentFlags().StringVar(&c.format, "format", formatText, "output format: text or json")
	root.AddCommand(c.initCommand(), c.infoCommand(), c.checkCommand(), c.blobCommand(), c.dumpCommand(), c.fsCommand(), c.bdevCommand())
	root.AddCommand(c.fileCommands(true)...)
	return root
}
