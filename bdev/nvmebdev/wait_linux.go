package nvmebdev

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// eventfd is an eventfd(2) that an interrupt signals, or noEvent.
type eventfd int

// noEvent stands for none; 0 is that for the driver, too.
const noEvent eventfd = 0

func newEventFD() (eventfd, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil && fd == 0 { // somebody closed standard input, and the driver takes 0 for none
		fd, err = unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
		_ = unix.Close(0)
	}
	if err != nil {
		return noEvent, fmt.Errorf("eventfd: %w", err)
	}
	return eventfd(fd), nil
}

func (e eventfd) is() bool { return e != noEvent }
func (e eventfd) fd() int  { return int(e) }

// wait blocks until the eventfd was signalled, and resets it: who polls afterwards sees what was signalled.
func (e eventfd) wait(timeout time.Duration) {
	fds := [1]unix.PollFd{{Fd: int32(e), Events: unix.POLLIN}}
	ts := unix.NsecToTimespec(int64(max(timeout, 0)))
	if n, err := unix.Ppoll(fds[:], &ts, nil); err == nil && n > 0 { // a signal ends it early, which costs one poll
		var count [8]byte
		_, _ = unix.Read(int(e), count[:])
	}
}

func (e eventfd) close() error {
	if e == noEvent {
		return nil
	}
	if err := unix.Close(int(e)); err != nil {
		return fmt.Errorf("closing an eventfd: %w", err)
	}
	return nil
}
