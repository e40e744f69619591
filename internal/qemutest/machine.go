package qemutest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Config is one boot.
type Config struct {
	Args    []string      // of QEMU: devices and drives
	Run     []string      // arguments of the guest's program
	Env     []string      // and its environment
	Kernel  string        // more of the kernel's command line
	Memory  int           // MiB; 0 is 1024
	Timeout time.Duration // 0 is two minutes
	Silence time.Duration // how long the machine may print nothing at all before it is started once more; 0 is a minute
	// Call answers requests that Boot does not know, on Boot's goroutine.
	Call func(words []string) (string, error)
}

// Result is what came of a boot.
type Result struct {
	Tests   []Test
	Exit    int      // of the program; -1 if it never ended
	Killed  bool     // at the guest's request
	Notes   []string // that the guest sent
	Rest    string   // output that belongs to no test
	Console string   // the kernel's messages and QEMU's
	Took    time.Duration
	Again   error // why the machine was started a second time, nil: it was not
}

// Failed tells whether anything but the tests' own results went wrong.
func (r *Result) Failed() bool { return r.Exit != 0 && !r.Killed }

const (
	defaultMemory  = 1024
	defaultTimeout = 2 * time.Minute
	maxLine        = 1 << 20
	maxCommandLine = 2047 // bytes; COMMAND_LINE_SIZE of Linux on x86
)

// Boot runs the image's program in a new machine and returns when that is off. A machine that prints nothing is started once
// more. An error means that the machine or the program did not come to an end; the result has what is known then, too.
func (m *Image) Boot(ctx context.Context, c Config) (*Result, error) {
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.Silence = cmp.Or(c.Silence, defaultSilence)
	r, silent := m.boot(ctx, c)
	if !errors.Is(silent, errSilent) {
		return r, silent
	}
	r, err := m.boot(ctx, c) // nothing of the guest's program can have run
	if r != nil {
		r.Again = silent
	}
	return r, err
}

// boot is one try of Boot.
func (m *Image) boot(ctx context.Context, c Config) (*Result, error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	folder, err := os.MkdirTemp("", "qemu") // short: a socket's path has 108 bytes at most
	if err != nil {
		return nil, err
	}
	b := &boot{config: c, folder: folder, result: &Result{Exit: -1}}
	b.wait(waitsPort)
	err = b.run(ctx, m)
	b.result.Took = time.Since(begin)
	b.result.Console = b.console()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("not done after %v, waiting for %s: %w (%v)", c.Timeout, *b.waits.Load(), ErrGuest, err)
	}
	return b.result, errors.Join(err, os.RemoveAll(folder))
}

// boot is a machine that runs.
type boot struct {
	config Config
	folder string
	result *Result
	kill   func()
	progress
}

func (b *boot) path(name string) string { return filepath.Join(b.folder, name) }

// console is what the kernel and QEMU said.
func (b *boot) console() string {
	var text string
	for _, name := range []string{"console", "qemu"} {
		if out, err := os.ReadFile(b.path(name)); err == nil {
			text += string(out)
		}
	}
	return text
}

// arguments of QEMU: the machine, then the caller's devices. KVM is not used: it hung on the machines that were tried.
func (b *boot) arguments(m *Image) ([]string, error) {
	text, err := json.Marshal(command{b.config.Run, b.config.Env})
	if err != nil {
		return nil, err
	}
	line := "console=ttyS0 loglevel=4 panic=-1 " + b.config.Kernel + " " + paramRun + base64.RawURLEncoding.EncodeToString(text)
	if len(line) > maxCommandLine {
		return nil, fmt.Errorf("%d bytes of arguments and environment for the guest, at most %d fit: %w", len(line), maxCommandLine, ErrGuest)
	}
	memory := b.config.Memory
	if memory == 0 {
		memory = defaultMemory
	}
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", strconv.Itoa(memory), "-smp", "2",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-net", "none",
		"-kernel", m.tools.Kernel, "-initrd", m.path,
		"-append", line,
		"-chardev", "file,id=console,path=" + b.path("console"), "-serial", "chardev:console",
		"-chardev", "socket,id=port,path=" + b.path("port"), "-serial", "chardev:port",
		"-chardev", "socket,id=qmp,path=" + b.path("qmp"), "-mon", "chardev=qmp,mode=control",
	}
	return append(args, b.config.Args...), nil
}

// run starts QEMU, which connects to both sockets at once, and follows the port to its end.
func (b *boot) run(ctx context.Context, m *Image) (err error) {
	args, err := b.arguments(m)
	if err != nil {
		return err
	}
	port, err := net.Listen("unix", b.path("port"))
	if err != nil {
		return err
	}
	defer port.Close()
	control, err := net.Listen("unix", b.path("qmp"))
	if err != nil {
		return err
	}
	defer control.Close()
	out, err := os.Create(b.path("qemu"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, m.tools.QEMU, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	b.kill = func() { _ = cmd.Process.Kill() } // fails only when it is gone already
	silence := time.AfterFunc(b.config.Silence, b.endSilence)
	defer silence.Stop()
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		port.Close() // nobody connects any more
		control.Close()
	}()
	err = b.talk(port, control)
	if err != nil {
		b.kill()
	}
	died := <-ended
	if silent := b.judgeSilence(cmd); silent != nil {
		return silent
	}
	if died != nil && !b.result.Killed {
		err = errors.Join(err, fmt.Errorf("%w: QEMU: %w: %s", ErrGuest, died, b.console()))
	}
	return err
}

// talk takes QEMU's two connections and serves the guest until it is off.
func (b *boot) talk(port, control net.Listener) error {
	conn, err := port.Accept()
	if err != nil {
		return fmt.Errorf("%w: QEMU did not start: %s", ErrGuest, b.console())
	}
	defer conn.Close()
	b.wait(waitsMonitor)
	qmp, err := control.Accept()
	if err != nil {
		return fmt.Errorf("%w: QEMU did not start: %s", ErrGuest, b.console())
	}
	defer qmp.Close()
	b.wait(waitsGreets)
	m, err := newMonitor(qmp)
	if err != nil {
		return err
	}
	b.monitor.Store(m)
	b.wait(waitsGuest)
	return b.serve(hearing{conn, &b.progress})
}

func (b *boot) serve(conn io.ReadWriter) error {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	var tests sorter
	defer func() {
		b.result.Tests = tests.tests
		b.result.Rest = strings.Join(tests.rest, "\n")
	}()
	for lines.Scan() {
		before, request, ours := strings.Cut(lines.Text(), mark)
		if !ours || before != "" {
			tests.add(before) // a request that follows an unfinished line leaves that line's start
		}
		if !ours {
			continue
		}
		if done, err := b.request(conn, mark+request); done || err != nil {
			return err
		}
	}
	return nil // off, or killed
}

// request serves one line of the guest.
func (b *boot) request(to io.Writer, line string) (done bool, err error) {
	if code, ok := strings.CutPrefix(line, wordExit); ok {
		b.result.Exit, err = strconv.Atoi(code)
		return false, err
	}
	words := strings.Fields(strings.TrimPrefix(line, wordCall))
	if len(words) == 0 {
		return false, nil
	}
	if words[0] == CallKill {
		b.result.Killed = true
		b.kill()
		return true, nil
	}
	text, err := b.answer(words)
	_, err = io.WriteString(to, answer(text, err))
	return false, err
}

func (b *boot) answer(words []string) (string, error) {
	switch rest := strings.Join(words[1:], " "); {
	case words[0] == CallQMP:
		return b.monitor.Load().execute(rest)
	case words[0] == CallNote:
		b.result.Notes = append(b.result.Notes, rest)
		return "", nil
	case b.config.Call != nil:
		return b.config.Call(words)
	}
	return "", fmt.Errorf("nobody answers %q", words[0])
}
