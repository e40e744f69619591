package qemutest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// defaultSilence is several times what a loaded machine takes to the first byte of a guest.
const defaultSilence = time.Minute

// errSilent is a machine that was ended because it printed nothing at all. QEMU did that once in hundreds of boots.
var errSilent = fmt.Errorf("%w: it printed nothing", ErrGuest)

// progress is how far a boot has come, for who asks from another goroutine.
type progress struct {
	waits   atomic.Pointer[string]
	monitor atomic.Pointer[monitor] // once it answers
	heard   atomic.Bool             // a byte came from the guest's program
	silent  atomic.Pointer[string]  // what was found when the machine was ended because it printed nothing
}

// What a boot waits for, in turn.
const (
	waitsPort    = "QEMU to connect the guest's port"
	waitsMonitor = "QEMU to connect its monitor"
	waitsGreets  = "QEMU's monitor to answer"
	waitsGuest   = "the guest to print"
)

func (p *progress) wait(what string) { p.waits.Store(&what) }

// hearing is the guest's port; it notes that a byte came.
type hearing struct {
	io.ReadWriter
	p *progress
}

func (h hearing) Read(b []byte) (int, error) {
	n, err := h.ReadWriter.Read(b)
	if n > 0 {
		h.p.heard.Store(true)
	}
	return n, err
}

// endSilence ends a machine that has printed nothing: on the port, or on the kernel's console.
func (b *boot) endSilence() {
	if st, err := os.Stat(b.path("console")); b.heard.Load() || err == nil && st.Size() > 0 {
		return
	}
	found := fmt.Sprintf("in %v, while Boot waited for %s", b.config.Silence, *b.waits.Load())
	if m := b.monitor.Load(); m != nil {
		found += "\n" + m.examine()
	}
	b.silent.Store(&found)
	b.kill()
}

// judgeSilence is the error of a machine that endSilence has ended, with all that is known of QEMU; nil of any other.
func (b *boot) judgeSilence(qemu *exec.Cmd) error {
	found := b.silent.Load()
	if found == nil || b.heard.Load() {
		return nil
	}
	s := qemu.ProcessState
	return fmt.Errorf("%w %s\nQEMU ended with %v after %v of user and %v of system time, and said: %q",
		errSilent, *found, s, s.UserTime(), s.SystemTime(), b.console())
}
