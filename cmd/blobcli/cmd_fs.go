package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/blobfs"
)

func (c *cli) fsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "fs", Short: "Files in the store"}
	cmd.AddCommand(c.fileCommands(false)...)
	return cmd
}

// fileCommands are the verbs on files. At the top level stat is left to fs, where its name is not ambiguous.
func (c *cli) fileCommands(top bool) []*cobra.Command {
	all, force, recursive, long := false, false, false, false
	ls := &cobra.Command{Use: "ls [DIR]", Short: "List files", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return c.ls(argOr(args, 0, "/"), long, all) }}
	ls.Flags().BoolVarP(&long, "long", "l", false, "with blob id, links, size and time")
	ls.Flags().BoolVarP(&all, "recursive", "R", false, "below directories too")
	cat := &cobra.Command{Use: "cat FILE...", Short: "Write files to standard output", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.cat(cmd.Context(), args) }}
	put := &cobra.Command{Use: "put SOURCE [FILE]", Short: "Store a file of this machine (- for standard input)", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.put(cmd.Context(), args[0], argOr(args, 1, ""), force)
		}}
	put.Flags().BoolVarP(&force, "force", "f", false, "replace a file of that name")
	get := &cobra.Command{Use: "get FILE [TARGET]", Short: "Copy a file to this machine", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.get(cmd.Context(), args[0], argOr(args, 1, path.Base(args[0])), force)
		}}
	get.Flags().BoolVarP(&force, "force", "f", false, "replace a file of that name on this machine")
	rm := &cobra.Command{Use: "rm FILE...", Short: "Remove files and empty directories", Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return c.rm(args, recursive) }}
	rm.Flags().BoolVarP(&recursive, "recursive", "r", false, "directories with all that is in them")
	cmds := []*cobra.Command{ls, cat, put, get, rm}
	if !top {
		cmds = append(cmds, &cobra.Command{Use: "stat FILE", Short: "Size, times and blob of a file", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error { return c.stat(args[0]) }})
	}
	return cmds
}

func argOr(args []string, i int, otherwise string) string {
	if i < len(args) {
		return args[i]
	}
	return otherwise
}

func (c *cli) ls(dir string, long, recursive bool) error {
	return c.withFiles(func(files fileReader) error {
		entries, err := collect(files, dir, "", recursive)
		if err != nil {
			return err
		}
		err = c.print(entries, func(w io.Writer) {
			if long {
				row(w, "BLOB", "LINKS", "SIZE", "MODIFIED", "NAME")
			}
			for _, e := range entries {
				printEntry(w, e, long)
			}
		})
		return errors.Join(err, c.report(files.problems()))
	})
}

// report prints what could not be read beside what could, and ends the command with exitFindings if there was anything.
func (c *cli) report(problems []error) error {
	for _, p := range problems {
		fmt.Fprintln(c.stderr, "blobcli:", p)
	}
	if len(problems) > 0 {
		return errFindings
	}
	return nil
}

// collect lists a directory; names are relative to the first one.
func collect(files fileReader, dir, prefix string, recursive bool) ([]fileEntry, error) {
	entries, err := files.list(dir)
	if err != nil {
		return nil, err
	}
	all := []fileEntry{}
	for _, e := range entries {
		name := e.Name
		e.Name = path.Join(prefix, name)
		all = append(all, e)
		if !e.Dir || !recursive {
			continue
		}
		below, err := collect(files, path.Join(dir, name), e.Name, true)
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, nil
}

func printEntry(w io.Writer, e fileEntry, long bool) {
	name := e.Name
	if e.Dir {
		name += "/"
	}
	if !long {
		row(w, name)
		return
	}
	mtime := "-"
	if e.ModTime != nil {
		mtime = e.ModTime.UTC().Format(time.RFC3339)
	}
	row(w, e.Blob, e.Links, e.Size, mtime, name)
}

func (c *cli) stat(name string) error {
	return c.withFiles(func(files fileReader) error {
		e, err := files.stat(name)
		if err != nil {
			return err
		}
		return c.print(e, func(w io.Writer) {
			row(w, "name", e.Name)
			row(w, "directory", e.Dir)
			row(w, "size", e.Size)
			if e.ModTime != nil {
				row(w, "modified", e.ModTime.UTC().Format(time.RFC3339Nano))
			}
			row(w, "links", e.Links)
			row(w, "blob", e.Blob)
		})
	})
}

func (c *cli) cat(ctx context.Context, names []string) error {
	return c.withFiles(func(files fileReader) error {
		for _, name := range names {
			if err := files.copyTo(ctxWriter{ctx, c.stdout}, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// hintForce says how to replace a file of this machine that is in the way.
func hintForce(err error) error {
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w (--force replaces a file)", err)
	}
	return err
}

func (c *cli) get(ctx context.Context, name, target string, force bool) error {
	return c.withFiles(func(files fileReader) error {
		if _, err := files.stat(name); err != nil {
			return err
		}
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if !force {
			flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
		}
		out, err := os.OpenFile(target, flags, 0o600)
		if err != nil {
			return hintForce(err)
		}
		if err := errors.Join(files.copyTo(ctxWriter{ctx, out}, name), out.Close()); err != nil {
			return errors.Join(err, os.Remove(target))
		}
		return nil
	})
}

func (c *cli) put(ctx context.Context, source, name string, force bool) error {
	in := c.stdin
	if source != "-" {
		f, err := os.Open(source)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
		if name == "" {
			name = filepath.Base(source)
		}
	}
	if name == "" {
		return usagef("put from standard input needs a FILE")
	}
	return c.withFS(true, func(fs *blobfs.FS) error {
		if info, err := fs.Stat(name); err == nil && (info.Dir || !force) {
			return fmt.Errorf("%s: %w (put --force replaces a file)", name, blobfs.ErrExist)
		}
		if _, err := fs.Stat(path.Dir(name)); err != nil {
			return err
		}
		return store(fs, ctxReader{ctx, in}, name)
	})
}

// store writes a stream under a temporary name, syncs it and renames it, so that an interrupted put leaves nothing and
// never half a file.
func store(fs *blobfs.FS, in io.Reader, name string) error {
	part := name + ".put-in-progress"
	f, err := fs.Create(part)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, in, make([]byte, 1<<20))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fs.Rename(part, name)
	}
	if err != nil {
		return errors.Join(err, fs.Remove(part))
	}
	return fs.Sync()
}

func (c *cli) rm(names []string, recursive bool) error {
	return c.withFS(true, func(fs *blobfs.FS) error {
		for _, name := range names {
			if err := remove(fs, name, recursive); err != nil {
				return err
			}
		}
		return fs.Sync()
	})
}

func remove(fs *blobfs.FS, name string, recursive bool) error {
	if _, err := fs.Stat(name); err != nil {
		return err
	}
	if recursive {
		return fs.RemoveAll(name)
	}
	return fs.Remove(name)
}

// ctxWriter and ctxReader end a copy when the user interrupts it.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
