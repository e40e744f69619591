package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
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
	c := &cli{ctx: ctx, stdin: stdin, stdout: output{stdout}, stderr: stderr}
	root := c.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	switch {
	case interrupted(ctx, err):
		fmt.Fprintln(stderr, "blobcli: interrupted")
	case !isSilent(err):
		fmt.Fprintln(stderr, "blobcli:", err)
	}
	return exitCode(ctx, err)
}

// version is that of the module, or of the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" {
			return s.Value
		}
	}
	return info.Main.Version
}

// cli is what every command shares: the streams and the global flags.
type cli struct {
	ctx            context.Context // ends when the user interrupts
	stdin          io.Reader
	stdout, stderr io.Writer
	device         string
	format         string
}

const long = `blobcli looks into a store, checks it, moves files in and out, mounts it, and measures the device below it.

A device is one string: aio:/var/lib/app/store.img, file:/x.img, malloc:1GiB, nvme:0000:01:00.0/1,
nvme:vfio-user:/path/to/dir, nvme-sim:1GiB, or a bare path.
Everything is read-only unless the verb writes (init, put, rm, mount --rw, bdev perf with writes, bdev export, nvme format).

Exit codes:
` + exitCodeHelp

func (c *cli) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "blobcli",
		Short:         "Look into a store and the device below it",
		Version:       version(),
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
	root.AddCommand(c.initCommand(), c.infoCommand(), c.checkCommand(), c.blobCommand(), c.dumpCommand(), c.fsCommand(), c.bdevCommand(), c.mountCommand(), c.nvmeCommand())
	root.AddCommand(c.fileCommands(true)...)
	strictArgs(root)
	return root
}

// noArgs refuses arguments of a command that takes flags alone. What is given is mostly the device.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("takes no argument %q; a device is given as -d %s", args[0], args[0])
}

// strictArgs makes wrong arguments of every command usage errors, and an unknown verb of a group one too instead of a
// page of help.
func strictArgs(cmd *cobra.Command) {
	check := cmd.Args
	if !cmd.Runnable() {
		check = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{fmt.Errorf("%s: %w; usage: %s", cmd.Name(), err, cmd.UseLine())}
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		strictArgs(sub)
	}
}
