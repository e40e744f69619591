package qemutest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// IsInit tells whether this process is process 1 of a guest.
func IsInit() bool { return os.Getpid() == 1 && strings.Contains(commandLine(), paramRun) }

func commandLine() string {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		if unix.Mount("proc", "/proc", "proc", 0, "") != nil {
			return ""
		}
		if b, err = os.ReadFile("/proc/cmdline"); err != nil {
			return ""
		}
	}
	return string(b)
}

// Init is process 1 of the guest: it mounts the kernel's file systems, loads the modules, runs the program with its output
// on the second serial port, reports how it ended, and switches the machine off. It returns only if that fails.
func Init() error {
	port, err := prepare()
	if err == nil {
		code := 0
		code, err = runProgram(port)
		fmt.Fprintf(port, "%s%d\n", wordExit, code)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "qemutest: %v\n", err) // the kernel's console
		if port != nil {
			fmt.Fprintf(port, "qemutest: %v\n", err)
		}
	}
	if port != nil {
		// Waits until the port has sent all of it; the machine ends in any case.
		_ = unix.IoctlSetInt(int(port.Fd()), unix.TCSBRK, 1)
	}
	unix.Sync()
	return errors.Join(err, unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// prepare makes the guest a usable machine and opens the port.
func prepare() (*os.File, error) {
	for _, m := range [][2]string{{"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("mounting %s: %w", m[0], err)
		}
	}
	port, err := openPort()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(guestModules + "/*.ko")
	if err != nil {
		return port, err
	}
	for _, path := range files { // in order
		if err := insert(path); err != nil {
			return port, fmt.Errorf("module %s: %w", filepath.Base(path), err)
		}
	}
	return port, nil
}

func insert(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if errors.Is(err, unix.EEXIST) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// openPort opens the second serial port and switches off whatever a terminal does to bytes.
func openPort() (*os.File, error) {
	port, err := os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200}
	raw.Cc[unix.VMIN] = 1
	if err := unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, errors.Join(err, port.Close())
	}
	return port, nil
}

// runProgram runs what the host asked for.
func runProgram(port io.Writer) (code int, err error) {
	_, after, _ := strings.Cut(commandLine(), paramRun)
	text, err := base64.RawURLEncoding.DecodeString(strings.Fields(after)[0])
	if err != nil {
		return 0, fmt.Errorf("what to run: %w", err)
	}
	var c command
	if err := json.Unmarshal(text, &c); err != nil {
		return 0, fmt.Errorf("what to run: %w", err)
	}
	cmd := exec.Command(guestProgram, c.Args...)
	cmd.Env = append([]string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp"}, c.Env...)
	cmd.Stdout, cmd.Stderr = port, port
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// calls is the guest's end of the port.
var calls struct {
	sync.Mutex
	port *os.File
	in   *bufio.Reader
}

// Call asks the host for something from within the guest's program and waits for the answer; the boot's own bound on time
// bounds the wait.
func Call(words ...string) (string, error) {
	calls.Lock()
	defer calls.Unlock()
	if calls.port == nil {
		port, err := openPort()
		if err != nil {
			return "", err
		}
		calls.port, calls.in = port, bufio.NewReader(port)
	}
	if _, err := calls.port.WriteString(wordCall + strings.Join(words, " ") + "\n"); err != nil {
		return "", err
	}
	line, err := calls.in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the host's answer: %w", err)
	}
	word, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if word != "ok" {
		return "", fmt.Errorf("the host: %s", text)
	}
	return text, nil
}
