package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountCopy copies a folder in with all its times, mounts again and copies it out.
func TestMountCopy(t *testing.T) {
	source := t.TempDir()
	for i, size := range []int{0, 1, 4095, 4096, 4097, 70_000, 1 << 20, 3<<20 + 17} {
		dir := filepath.Join(source, fmt.Sprintf("dir%d", i%3), "below")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file %d", i)), bytes.Repeat([]byte{byte(i), 1, 2, 3}, size/4+1)[:size], 0o644))
	}
	device := newStore(t)
	m := startMount(t, device, "--rw")
	shell(t, "cp", "-a", source, m.path("copy"))
	shell(t, "diff", "-r", source, m.path("copy"))
	m.interrupt()
	requireClean(t, device)

	m = startMount(t, device)
	target := filepath.Join(t.TempDir(), "out")
	shell(t, "cp", "-a", m.path("copy"), target)
	shell(t, "diff", "-r", source, target)
	want, err := os.Stat(filepath.Join(source, "dir1/below/file 1"))
	require.NoError(t, err)
	got, err := os.Stat(filepath.Join(target, "dir1/below/file 1"))
	require.NoError(t, err)
	require.True(t, want.ModTime().Equal(got.ModTime()), "the time went along")
	m.interrupt()
}

// TestMountEnds: both ways to unmount wait until nobody uses the mount, and everything is durable then.
func TestMountEnds(t *testing.T) {
	device := newStore(t)
	m := startMount(t, device, "--rw")
	f, err := os.Create(m.path("f"))
	require.NoError(t, err)
	_, err = f.WriteString("never synced")
	require.NoError(t, err)

	r := blobcli("", "-d", device, "ls")
	require.Equal(t, exitInUse, r.code)
	require.Contains(t, r.stderr, fmt.Sprintf("process %d", m.cmd.Process.Pid))

	require.NoError(t, m.cmd.Process.Signal(syscall.SIGTERM))
	m.stderr.waitFor(t, fmt.Sprintf("in use by process %d", os.Getpid()))
	require.NoError(t, f.Close())
	require.Equal(t, exitOK, m.end())
	require.Equal(t, "never synced", ok(t, "-d", device, "cat", "f"))

	m = startMount(t, device, "--rw")
	require.NoError(t, os.WriteFile(m.path("g"), []byte("nor this"), 0o644))
	if os.Geteuid() == 0 {
		shell(t, "umount", m.dir)
	} else {
		shell(t, "fusermount3", "-u", m.dir)
	}
	require.Equal(t, exitOK, m.end(), "%s", m.stderr)
	require.Equal(t, "nor this", ok(t, "-d", device, "cat", "g"))
	requireClean(t, device)
}

// TestMountKill kills the process and finds every byte and name that was synced.
func TestMountKill(t *testing.T) {
	device := newStore(t)
	m := startMount(t, device, "--rw")
	write := func(name, content string) *os.File {
		f, err := os.OpenFile(m.path(name), os.O_RDWR|os.O_CREATE, 0o644)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte(content), 0)
		require.NoError(t, err)
		return f
	}
	big := strings.Repeat("0123456789", 60_000)
	synced := write("synced", big)
	require.NoError(t, synced.Sync())
	overwritten := write("overwritten", "first content")
	require.NoError(t, overwritten.Sync())
	_, err := overwritten.WriteAt([]byte("OTHER"), 0)
	require.NoError(t, err)
	require.NoError(t, overwritten.Sync())
	require.NoError(t, overwritten.Truncate(9))
	require.NoError(t, unix.Fdatasync(int(overwritten.Fd())))
	mapped := write("mapped", strings.Repeat("-", 8192))
	data, err := unix.Mmap(int(mapped.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	copy(data[4000:], "written through memory")
	require.NoError(t, unix.Msync(data, unix.MS_SYNC))
	writeThrough, err := os.OpenFile(m.path("O_SYNC"), os.O_WRONLY|os.O_CREATE|os.O_SYNC, 0o644)
	require.NoError(t, err)
	_, err = writeThrough.WriteString("durable at once")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(m.path("dir"), 0o755))
	require.NoError(t, os.Rename(m.path("synced"), m.path("dir/renamed")))
	dir, err := os.Open(m.path("dir"))
	require.NoError(t, err)
	require.NoError(t, dir.Sync())
	write("lost", "not synced")

	m.kill()
	requireClean(t, device)
	require.Equal(t, big, ok(t, "-d", device, "cat", "dir/renamed"))
	require.Equal(t, "durable at once", ok(t, "-d", device, "cat", "O_SYNC"))
	require.Equal(t, "OTHER con", ok(t, "-d", device, "cat", "overwritten"))
	require.Equal(t, "written through memory", ok(t, "-d", device, "cat", "mapped")[4000:][:22])
	m = startMount(t, device, "--rw")
	require.NoFileExists(t, m.path("synced"))
	m.interrupt()
	require.NoError(t, unix.Munmap(data))
}

// TestMountReadOnly: without --rw nothing can be changed, by any call, and everything can be read.
func TestMountReadOnly(t *testing.T) {
	device := newStore(t)
	m := startMount(t, device, "--rw")
	require.NoError(t, os.Mkdir(m.path("dir"), 0o755))
	require.NoError(t, os.WriteFile(m.path("f"), []byte("content"), 0o644))
	m.interrupt()
	before, err := os.ReadFile(device)
	require.NoError(t, err)

	m = startMount(t, device)
	f := m.path("f")
	refused := map[string]error{
		"open for writing": second(os.OpenFile(f, os.O_WRONLY, 0)),
		"create":           second(os.Create(m.path("new"))),
		"mkdir":            os.Mkdir(m.path("new"), 0o755),
		"mknod":            unix.Mknod(m.path("new"), unix.S_IFREG|0o644, 0),
		"symlink":          os.Symlink("f", m.path("new")),
		"link":             os.Link(f, m.path("new")),
		"rename":           os.Rename(f, m.path("new")),
		"unlink":           os.Remove(f),
		"rmdir":            os.Remove(m.path("dir")),
		"truncate":         os.Truncate(f, 1),
		"chmod":            os.Chmod(f, 0o600),
		"utimes":           unix.Utimes(f, make([]unix.Timeval, 2)),
		"access":           unix.Access(f, unix.W_OK),
	}
	for what, err := range refused {
		require.ErrorIs(t, err, syscall.EROFS, what)
	}
	content, err := os.ReadFile(f)
	require.NoError(t, err)
	require.Equal(t, "content", string(content))
	open, err := os.Open(f)
	require.NoError(t, err)
	require.NoError(t, open.Sync())
	require.NoError(t, open.Close())
	m.interrupt()
	after, err := os.ReadFile(device)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "a read-only mount changed the store")
}

func second[T any](_ T, err error) error { return err }

// TestMountLegacy reads SPDK's own BlobFS through a mount.
func TestMountLegacy(t *testing.T) {
	device := golden(t, "blobfs-legacy.img.gz")
	m := startMount(t, device)
	var files []fileEntry
	// The mount and the commands are both readers, so they can have the image at the same time.
	okJSON(t, &files, "-d", device, "ls")
	require.NotEmpty(t, files)
	for _, f := range files {
		content, err := os.ReadFile(m.path(f.Name))
		require.NoError(t, err)
		require.Equal(t, digest(ok(t, "-d", device, "cat", f.Name)), digest(string(content)), f.Name)
	}
	require.ErrorIs(t, os.Remove(m.path(files[0].Name)), syscall.EROFS)
	m.interrupt()
}

// TestMountRefusals: what cannot be mounted is refused with an exit code and what to do.
func TestMountRefusals(t *testing.T) {
	requireFUSE(t)
	device, empty := newStore(t), t.TempDir()
	full := t.TempDir()
	file := filepath.Join(full, "something")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	blank := filepath.Join(t.TempDir(), "blank.img")
	require.NoError(t, os.WriteFile(blank, make([]byte, 16<<20), 0o644))
	cases := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no directory", []string{"-d", device, "mount", "/no/such/dir"}, exitNotFound, "mkdir -p /no/such/dir"},
		{"not empty", []string{"-d", device, "mount", full}, exitUsage, "holds something"},
		{"a file", []string{"-d", device, "mount", file}, exitUsage, "not a directory"},
		{"no argument", []string{"-d", device, "mount"}, exitUsage, "mount DIR"},
		{"no device", []string{"mount", empty}, exitUsage, "which device"},
		{"no image", []string{"-d", "/no/such/image", "mount", empty}, exitNotFound, "/no/such/image"},
		{"no store", []string{"-d", blank, "mount", empty}, exitNotStore, ""},
		{"legacy for writing", []string{"-d", golden(t, "blobfs-legacy.img.gz"), "mount", "--rw", empty}, exitRefused, "without --rw"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := blobcli("", c.args...)
			require.Equal(t, c.code, r.code, r.stderr)
			require.Contains(t, r.stderr, c.says)
		})
	}
	m := startMount(t, device)
	require.NoError(t, second(os.Stat(m.dir))) // which the kernel goes on to answer when nobody is behind it
	r := blobcli("", "-d", device, "mount", "--rw", empty)
	require.Equal(t, exitInUse, r.code, r.stderr)
	require.NoError(t, m.cmd.Process.Kill())
	m.end()
	r = blobcli("", "-d", device, "mount", m.dir)
	require.Equal(t, exitUsage, r.code, r.stderr)
	require.Contains(t, r.stderr, "umount "+m.dir)
	m.forget()
}

// TestMountErrors: each limit of the file system has the error that programs expect.
func TestMountErrors(t *testing.T) {
	m := startMount(t, newStore(t), "--rw")
	f, err := os.Create(m.path("f"))
	require.NoError(t, err)
	_, err = f.WriteString("0123456789")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(m.path("g"), []byte("g"), 0o644))
	require.NoError(t, os.MkdirAll(m.path("dir/sub"), 0o755))
	require.NoError(t, os.Mkdir(m.path("empty"), 0o755))
	long := strings.Repeat("n", 256)
	fd := int(f.Fd())
	cases := []struct {
		name string
		err  error
		want syscall.Errno
	}{
		{"no such file", second(os.Open(m.path("nothing"))), syscall.ENOENT},
		{"O_EXCL", second(os.OpenFile(m.path("f"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)), syscall.EEXIST},
		{"long name", os.WriteFile(m.path(long), nil, 0o644), syscall.ENAMETOOLONG},
		{"long name of a directory", os.Mkdir(m.path(long), 0o755), syscall.ENAMETOOLONG},
		{"rmdir of a full directory", unix.Rmdir(m.path("dir")), syscall.ENOTEMPTY},
		{"rename over a full directory", unix.Rename(m.path("empty"), m.path("dir")), syscall.ENOTEMPTY},
		{"rename into itself", unix.Rename(m.path("dir"), m.path("dir/sub/x")), syscall.EINVAL},
		{"writing a directory", second(os.OpenFile(m.path("dir"), os.O_WRONLY, 0)), syscall.EISDIR},
		{"unlink of a directory", unix.Unlink(m.path("dir")), syscall.EISDIR},
		{"a file as a directory", second(os.Open(m.path("f/x"))), syscall.ENOTDIR},
		{"NOREPLACE", unix.Renameat2(unix.AT_FDCWD, m.path("f"), unix.AT_FDCWD, m.path("g"), unix.RENAME_NOREPLACE), syscall.EEXIST},
		{"EXCHANGE", unix.Renameat2(unix.AT_FDCWD, m.path("f"), unix.AT_FDCWD, m.path("g"), unix.RENAME_EXCHANGE), syscall.EINVAL},
		{"punch hole", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4), syscall.EOPNOTSUPP},
		{"too large", f.Truncate(1 << 40), syscall.ENOSPC},
		{"symlink", os.Symlink("f", m.path("s")), syscall.ENOTSUP},
		{"pipe", unix.Mkfifo(m.path("p"), 0o644), syscall.ENOTSUP},
		{"xattr", unix.Setxattr(m.path("f"), "user.x", []byte("1"), 0), syscall.ENOTSUP},
	}
	for _, c := range cases {
		require.ErrorIs(t, c.err, c.want, c.name)
	}
	content, err := os.ReadFile(m.path("f"))
	require.NoError(t, err)
	require.Equal(t, "0123456789", string(content), "what failed changed nothing")
	require.NoError(t, f.Close())
	m.interrupt()
}

// TestMountFull: a full store says ENOSPC, keeps what it has, and takes more once something is removed.
func TestMountFull(t *testing.T) {
	device := newStore(t)
	m := startMount(t, device, "--rw")
	piece := bytes.Repeat([]byte("full"), 256<<10)
	var err error
	n := 0
	for ; err == nil; n++ {
		err = os.WriteFile(m.path(fmt.Sprint(n)), piece, 0o644)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Greater(t, n, 20)
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(m.dir, &st))
	require.Less(t, st.Bfree*uint64(st.Bsize), uint64(2*len(piece)))
	content, err := os.ReadFile(m.path("0"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(piece, content))
	require.NoError(t, os.Remove(m.path("0")))
	require.NoError(t, os.Remove(m.path("1")))
	require.NoError(t, os.WriteFile(m.path("again"), piece, 0o644))
	m.interrupt()
	requireClean(t, device)
}

// TestMountHandles: all handles and mappings of a file show the same bytes, at once, also after a truncation and when the
// file has no name any more.
func TestMountHandles(t *testing.T) {
	device := newStore(t)
	m := startMount(t, device, "--rw")
	a, err := os.OpenFile(m.path("f"), os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	b, err := os.OpenFile(m.path("f"), os.O_RDWR|os.O_APPEND, 0)
	require.NoError(t, err)
	require.NoError(t, a.Truncate(10_000))
	_, err = b.Write([]byte("appended"))
	require.NoError(t, err)
	data, err := unix.Mmap(int(a.Fd()), 0, 10_008, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	require.Equal(t, "appended", string(data[10_000:]))
	copy(data[5000:], "mapped")
	got := make([]byte, 6)
	_, err = b.ReadAt(got, 5000)
	require.NoError(t, err)
	require.Equal(t, "mapped", string(got))
	_, err = a.WriteAt([]byte("WRITTEN"), 4999)
	require.NoError(t, err)
	require.Equal(t, "WRITTEN", string(data[4999:5006]))

	require.NoError(t, a.Truncate(5001))
	require.NoError(t, a.Truncate(10_000))
	require.Equal(t, []byte{'W', 'R', 0, 0}, data[4999:5003], "what was cut off reads as zeros")
	require.NoError(t, os.Remove(m.path("f")))
	_, err = a.WriteAt([]byte("nameless"), 0)
	require.NoError(t, err)
	require.Equal(t, "nameless", string(data[:8]))
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(b.Fd()), &st))
	require.Zero(t, st.Nlink)
	require.Equal(t, int64(10_000), st.Size)
	require.NoError(t, unix.Munmap(data))
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	m.interrupt()
	require.Empty(t, ok(t, "-d", device, "ls"))
	requireClean(t, device)
}

// TestMountAllocate: fallocate makes room, with KEEP_SIZE behind the end, else before it.
func TestMountAllocate(t *testing.T) {
	m := startMount(t, newStore(t), "--rw")
	f, err := os.Create(m.path("f"))
	require.NoError(t, err)
	free := func() uint64 {
		var st unix.Statfs_t
		require.NoError(t, unix.Statfs(m.dir, &st))
		return st.Bfree * uint64(st.Bsize)
	}
	before := free()
	require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 8<<20))
	require.LessOrEqual(t, free(), before-8<<20)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Zero(t, info.Size())
	require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 100, 5000))
	require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, 10))
	info, err = f.Stat()
	require.NoError(t, err)
	require.Equal(t, int64(5100), info.Size())
	end, err := f.Seek(-100, 2)
	require.NoError(t, err)
	require.Equal(t, int64(5000), end)
	require.NoError(t, f.Close())
	m.interrupt()
}

// TestMountParallel has many processes' worth of work on one file and one directory at once.
func TestMountParallel(t *testing.T) {
	device := newStore(t)
	m := startMount(t, device, "--rw")
	const workers, rounds, span = 4, 25, 20_000
	var wg sync.WaitGroup
	work := func(w int) error {
		f, err := os.OpenFile(m.path("shared"), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		for i := range rounds {
			mine := bytes.Repeat([]byte{byte('a' + w), byte(i)}, span/2)
			if _, err := f.WriteAt(mine, int64(w*span)); err != nil {
				return err
			}
			name := m.path(fmt.Sprintf("w%d-%d", w, i))
			if err := os.WriteFile(name, mine[:i*100], 0o644); err != nil {
				return err
			}
			if err := os.Rename(name, m.path("target")); err != nil {
				return err
			}
			if i%8 == 0 {
				if err := f.Sync(); err != nil {
					return err
				}
			}
			got := make([]byte, span)
			if _, err := f.ReadAt(got, int64(w*span)); err != nil {
				return err
			}
			if !bytes.Equal(mine, got) {
				return fmt.Errorf("worker %d, round %d: read something else than was written", w, i)
			}
		}
		return nil
	}
	for w := range workers {
		wg.Go(func() {
			if err := work(w); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m.interrupt()
	requireClean(t, device)
	require.Equal(t, "shared\ntarget\n", ok(t, "-d", device, "ls"))
}

// TestMountSQLite runs another database on the mount, if this machine has one.
func TestMountSQLite(t *testing.T) {
	sqlite, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip(err)
	}
	device := newStore(t)
	m := startMount(t, device, "--rw")
	query := func(script string) string {
		cmd := exec.Command(sqlite, m.path("test.db"))
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	query(`PRAGMA journal_mode=WAL; CREATE TABLE t(k INTEGER PRIMARY KEY, v);
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, hex(randomblob(40)) FROM n;
		UPDATE t SET v = 'x' WHERE k % 3 = 0; DELETE FROM t WHERE k % 5 = 0;`)
	m.kill()
	m = startMount(t, device, "--rw")
	require.Equal(t, "ok\n4000\n", query("PRAGMA integrity_check; SELECT count(*) FROM t;"))
	query("PRAGMA journal_mode=DELETE; VACUUM;")
	m.interrupt()
	requireClean(t, device)
}
