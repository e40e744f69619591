package vfsadapter

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// script runs the commands of a file on a file system and prints what happens. Errors are printed as the answers to
// the questions that Pebble asks of them, so that two file systems with different texts can print alike.
type script struct {
	fs    vfs.FS
	files map[string]vfs.File
	locks map[string]io.Closer
	out   bytes.Buffer
	seed  byte // of the next byte that fill writes
}

// runScript runs the script at path and returns its transcript. Handles that it leaves open are closed.
func runScript(t *testing.T, fs vfs.FS, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	s := &script{fs: fs, files: map[string]vfs.File{}, locks: map[string]io.Closer{}}
	for n, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		args := strings.Fields(line)
		run, known := commands[args[0]]
		require.True(t, known, "%s:%d: %q", path, n+1, line)
		for len(args) < 4 {
			args = append(args, "")
		}
		fmt.Fprintf(&s.out, "%3d %s: %s\n", n+1, line, run(s, args[1:]))
	}
	for _, f := range s.files {
		require.NoError(t, f.Close())
	}
	return s.out.String()
}

// class says which of the errors that Pebble tells apart err is.
func class(err error) string {
	switch {
	case err == nil:
		return "ok"
	case err == io.EOF:
		return "EOF"
	case oserror.IsExist(err):
		return "exists"
	case oserror.IsNotExist(err):
		return "does not exist"
	default:
		return "error"
	}
}

var commands = map[string]func(s *script, a []string) string{
	"create": func(s *script, a []string) string {
		return s.keep(a[0])(s.fs.Create(a[1], vfs.WriteCategoryUnspecified))
	},
	"open":     func(s *script, a []string) string { return s.keep(a[0])(s.fs.Open(a[1])) },
	"openseq":  func(s *script, a []string) string { return s.keep(a[0])(s.fs.Open(a[1], vfs.SequentialReadsOption)) },
	"openrand": func(s *script, a []string) string { return s.keep(a[0])(s.fs.Open(a[1], vfs.RandomReadsOption)) },
	"openrw": func(s *script, a []string) string {
		return s.keep(a[0])(s.fs.OpenReadWrite(a[1], vfs.WriteCategoryUnspecified))
	},
	"opendir": func(s *script, a []string) string { return s.keep(a[0])(s.fs.OpenDir(a[1])) },
	"reuse": func(s *script, a []string) string {
		return s.keep(a[0])(s.fs.ReuseForWrite(a[1], a[2], vfs.WriteCategoryUnspecified))
	},
	"link":      func(s *script, a []string) string { return class(s.fs.Link(a[0], a[1])) },
	"rename":    func(s *script, a []string) string { return class(s.fs.Rename(a[0], a[1])) },
	"remove":    func(s *script, a []string) string { return class(s.fs.Remove(a[0])) },
	"removeall": func(s *script, a []string) string { return class(s.fs.RemoveAll(a[0])) },
	"mkdir":     func(s *script, a []string) string { return class(s.fs.MkdirAll(a[0], 0o755)) },
	"copy":      func(s *script, a []string) string { return class(vfs.Copy(s.fs, a[0], a[1])) },
	"list":      func(s *script, a []string) string { return s.list(a[0]) },
	"stat":      func(s *script, a []string) string { return describe(s.fs.Stat(a[0])) },
	"lock":      func(s *script, a []string) string { return s.lock(a[0], a[1]) },
	"unlock":    func(s *script, a []string) string { return class(s.locks[a[0]].Close()) },

	"write":    func(s *script, a []string) string { return count(s.file(a[0]).Write([]byte(a[1]))) },
	"writeat":  func(s *script, a []string) string { return count(s.file(a[0]).WriteAt([]byte(a[2]), number(a[1]))) },
	"fill":     func(s *script, a []string) string { return count(s.file(a[0]).Write(s.pattern(number(a[1])))) },
	"read":     func(s *script, a []string) string { return s.read(s.file(a[0]), number(a[1])) },
	"readat":   func(s *script, a []string) string { return s.readAt(s.file(a[0]), number(a[1]), number(a[2])) },
	"sum":      func(s *script, a []string) string { return sum(s.file(a[0])) },
	"fstat":    func(s *script, a []string) string { return describe(s.file(a[0]).Stat()) },
	"sync":     func(s *script, a []string) string { return class(s.file(a[0]).Sync()) },
	"syncdir":  func(s *script, a []string) string { return class(s.file(a[0]).Sync()) },
	"syncdata": func(s *script, a []string) string { return class(s.file(a[0]).SyncData()) },
	"prealloc": func(s *script, a []string) string { return class(s.file(a[0]).Preallocate(number(a[1]), number(a[2]))) },
	"prefetch": func(s *script, a []string) string { return class(s.file(a[0]).Prefetch(number(a[1]), number(a[2]))) },
	"syncto": func(s *script, a []string) string {
		full, err := s.file(a[0]).SyncTo(number(a[1]))
		return fmt.Sprint(full, " ", class(err))
	},
	"close": func(s *script, a []string) string {
		f := s.file(a[0])
		delete(s.files, a[0])
		return class(f.Close())
	},
}

// keep remembers what an open returned under a name.
func (s *script) keep(name string) func(vfs.File, error) string {
	return func(f vfs.File, err error) string {
		if err == nil {
			s.files[name] = f
		}
		return class(err)
	}
}

func (s *script) file(name string) vfs.File {
	f, ok := s.files[name]
	if !ok {
		panic("script: no open file " + name)
	}
	return f
}

func (s *script) lock(name, path string) string {
	l, err := s.fs.Lock(path)
	if err == nil {
		s.locks[name] = l
	}
	return class(err)
}

func (s *script) list(dir string) string {
	names, err := s.fs.List(dir)
	sort.Strings(names)
	return fmt.Sprint(names, " ", class(err))
}

func (s *script) pattern(n int64) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = s.seed
		s.seed += 7
	}
	return p
}

func (s *script) read(f vfs.File, n int64) string {
	p := make([]byte, n)
	got, err := f.Read(p)
	return fmt.Sprintf("%q %s", p[:got], class(err))
}

func (s *script) readAt(f vfs.File, off, n int64) string {
	p := make([]byte, n)
	got, err := f.ReadAt(p, off)
	return fmt.Sprintf("%q %s", p[:got], class(err))
}

// sum reads the whole file by ReadAt in odd pieces.
func sum(f vfs.File) string {
	h := crc32.NewIEEE()
	n, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<40))
	return fmt.Sprintf("%d bytes, crc %08x, %s", n, h.Sum32(), class(err))
}

func describe(in vfs.FileInfo, err error) string {
	if err != nil {
		return class(err)
	}
	if in.IsDir() {
		return in.Name() + " directory"
	}
	return fmt.Sprint(in.Name(), " ", in.Size(), " bytes")
}

func count(n int, err error) string { return fmt.Sprint(n, " ", class(err)) }

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(errors.Join(errors.New("script"), err))
	}
	return n
}
