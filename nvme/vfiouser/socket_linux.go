package vfiouser

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// errStopped is returned by a wait that the stop descriptor ended.
var errStopped = errors.New("stopped")

// message is one that was received. Its payload is valid until the next one is received; its descriptors belong to whoever
// has the message.
type message struct {
	wire.Header
	payload []byte
	fds     []int
}

// closeFDs closes the descriptors that nobody took.
func (m *message) closeFDs() {
	for _, fd := range m.fds {
		_ = unix.Close(fd) // a received descriptor; nothing was written through it
	}
	m.fds = nil
}

// take gives the first descriptor away; -1 if there is none.
func (m *message) take() int {
	if len(m.fds) == 0 {
		return -1
	}
	fd := m.fds[0]
	m.fds = m.fds[1:]
	return fd
}

// socket carries messages over a connected unix stream socket. One goroutine receives, one at a time sends.
type socket struct {
	fd  int // non-blocking
	in  []byte
	oob []byte
}

func newSocket(fd int) *socket {
	return &socket{fd: fd, in: make([]byte, 4096), oob: make([]byte, unix.CmsgSpace(4*wire.MaxFDs))}
}

func (s *socket) close() error { return unix.Close(s.fd) }

// shutdown ends both directions: receivers on either end see the end of the stream.
func (s *socket) shutdown() { _ = unix.Shutdown(s.fd, unix.SHUT_RDWR) } // not connected any more: nothing to end

// receive returns the next message. Only the wait for its first byte may last until the deadline or until stop can be read (-1: none);
// the rest must follow within patience. After an error the stream is lost.
func (s *socket) receive(deadline time.Time, patience time.Duration, stop int) (*message, error) {
	if err := waitFor(s.fd, unix.POLLIN, deadline, stop); err != nil {
		return nil, err
	}
	end := time.Now().Add(patience)
	m := &message{}
	err := s.readMessage(m, end)
	if err != nil {
		m.closeFDs()
		return nil, err
	}
	return m, nil
}

func (s *socket) readMessage(m *message, end time.Time) error {
	if err := s.read(m, s.in[:wire.HeaderSize], end); err != nil {
		return err
	}
	h, err := wire.ParseHeader(s.in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	m.Header = h
	n := int(h.Size)
	if n > len(s.in) {
		s.in = make([]byte, min(2*n, wire.MaxMessage))
	}
	m.payload = s.in[wire.HeaderSize:n]
	return s.read(m, m.payload, end)
}

// read fills b. Descriptors may come with any part of a message.
func (s *socket) read(m *message, b []byte, end time.Time) error {
	for first := true; len(b) > 0; first = false {
		n, err := s.recvmsg(m, b)
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			if err := waitFor(s.fd, unix.POLLIN, end, -1); err != nil {
				return fmt.Errorf("the rest of a message: %w", err)
			}
			continue
		case err != nil:
			return err
		case n == 0 && first && m.Size == 0:
			return io.EOF
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		b = b[n:]
	}
	return nil
}

func (s *socket) recvmsg(m *message, b []byte) (int, error) {
	n, oobn, flags, _, err := unix.Recvmsg(s.fd, b, s.oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return 0, err
	}
	if oobn > 0 {
		if err := m.addFDs(s.oob[:oobn]); err != nil {
			return 0, err
		}
	}
	switch cut := flags&unix.MSG_CTRUNC != 0; {
	case cut && len(m.fds) < wire.MaxFDs:
		return 0, fmt.Errorf("the peer sent file descriptors, and this process may open no more; raise its limit (ulimit -n): %w", unix.EMFILE)
	case cut || len(m.fds) > wire.MaxFDs:
		return 0, fmt.Errorf("%w: a message with more than %d file descriptors", ErrProtocol, wire.MaxFDs)
	}
	return n, nil
}

// addFDs takes the descriptors of ancillary data over.
func (m *message) addFDs(oob []byte) error {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("%w: ancillary data: %w", ErrProtocol, err)
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // another kind of ancillary data, which carries no descriptors
		}
		m.fds = append(m.fds, fds...)
	}
	return nil
}

// send sends one message, whose header is at its front, with descriptors, which stay the caller's.
func (s *socket) send(b []byte, fds []int, deadline time.Time) error {
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	for len(b) > 0 {
		n, err := unix.SendmsgN(s.fd, b, oob, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			b, oob = b[n:], nil
		case unix.EINTR:
		case unix.EAGAIN:
			if err := waitFor(s.fd, unix.POLLOUT, deadline, -1); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// waitFor blocks until the socket is ready, with its end being ready too. A zero deadline is none.
func waitFor(fd int, events int16, deadline time.Time, stop int) error {
	fds := [2]unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(stop), Events: unix.POLLIN}}
	for {
		ms := -1
		if !deadline.IsZero() {
			left := time.Until(deadline)
			if left <= 0 {
				return fmt.Errorf("no answer: %w", unix.ETIMEDOUT)
			}
			ms = int(min(left.Milliseconds()+1, math.MaxInt32))
		}
		_, err := unix.Poll(fds[:], ms) // a negative descriptor is ignored
		switch {
		case err != nil && err != unix.EINTR:
			return err
		case fds[1].Revents != 0:
			return errStopped
		case fds[0].Revents != 0:
			return nil
		}
	}
}

// frame starts a message: its header is filled in by finish.
func frame(b []byte) []byte { return append(b[:0], make([]byte, wire.HeaderSize)...) }

// finish writes the header of a message that frame started.
func finish(b []byte, h wire.Header) []byte {
	h.Size = uint32(len(b))
	h.Put(b)
	return b
}

// dial connects to a socket, however long its path is.
func dial(path string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("making a socket: %w", err)
	}
	err = withAddress(path, func(a *unix.SockaddrUnix) error { return unix.Connect(fd, a) })
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// maxAddress is the longest path that an address of a socket holds (unix(7), sun_path without its zero byte).
const maxAddress = 107

// withAddress runs f with the address of a path. One that is too long is named through its folder's descriptor.
func withAddress(path string, f func(*unix.SockaddrUnix) error) error {
	if len(path) <= maxAddress {
		return f(&unix.SockaddrUnix{Name: path})
	}
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = f(&unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))})
	return errors.Join(err, unix.Close(dir))
}
