package vfiouser

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// appender is a payload.
type appender interface{ Append(b []byte) []byte }

// link is the client's end of a connection: calls and their answers, and commands of the server. Any goroutine may call any
// method.
type link struct {
	s       *socket
	timeout time.Duration
	serve   func(m *message, reply []byte) ([]byte, unix.Errno) // a command of the server
	done    chan struct{}                                       // closed when the reader has ended

	send struct {
		sync.Mutex
		buf []byte
	}
	mu struct {
		sync.Mutex
		next    uint16
		waiting map[uint16]*call
		err     error // why it ended
		closed  bool
	}
}

// call is a command that waits for its answer.
type call struct {
	cmd   wire.Command
	reply *message // owned by the caller once answered
	ready chan struct{}
}

// maxCalls bounds the calls that wait at a time.
const maxCalls = 1024

func newLink(s *socket, timeout time.Duration, serve func(*message, []byte) ([]byte, unix.Errno)) *link {
	l := &link{s: s, timeout: timeout, serve: serve, done: make(chan struct{})}
	l.mu.waiting = make(map[uint16]*call)
	go l.run()
	return l
}

// call sends a command and returns the answer, whose descriptors are the caller's. A peer that does not answer in time is
// gone: an answer that comes later could not be told from the next one with the same number.
func (l *link) call(cmd wire.Command, payload appender, fds []int) (*message, error) {
	c := &call{cmd: cmd, ready: make(chan struct{})}
	deadline := time.Now().Add(l.timeout)
	if err := l.start(c, payload, fds, deadline); err != nil {
		return nil, fmt.Errorf("%v: %w", cmd, err)
	}
	timer := time.NewTimer(l.timeout)
	defer timer.Stop()
	select {
	case <-c.ready:
	case <-l.done:
	case <-timer.C:
		l.fail(fmt.Errorf("%v: no answer within %v", cmd, l.timeout))
		<-l.done
	}
	return l.answer(c)
}

// answer is what became of a call: answered, or the connection has ended.
func (l *link) answer(c *call) (*message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.reply == nil:
		return nil, fmt.Errorf("%v: %w", c.cmd, l.mu.err)
	case c.reply.Flags&wire.FlagError == 0:
		return c.reply, nil
	}
	c.reply.closeFDs()
	return nil, replyError(c.cmd, unix.Errno(c.reply.Errno))
}

func replyError(cmd wire.Command, errno unix.Errno) error {
	switch errno {
	case 0:
		return fmt.Errorf("%v: refused by the server", cmd)
	case unix.ENOTSUP, unix.ENOSYS:
		return fmt.Errorf("%v: %w: %w", cmd, nvme.ErrUnsupported, errno)
	default:
		return fmt.Errorf("%v: refused by the server: %w", cmd, errno)
	}
}

// start registers the call and sends its command.
func (l *link) start(c *call, payload appender, fds []int, deadline time.Time) error {
	id, err := l.register(c)
	if err != nil {
		return err
	}
	return l.transmit(wire.Header{ID: id, Command: c.cmd}, payload, fds, deadline)
}

// post sends a command that the peer does not answer, and does not wait until it is carried out.
func (l *link) post(cmd wire.Command, payload appender) error {
	h := wire.Header{Command: cmd, Flags: wire.FlagNoReply}
	if err := l.transmit(h, payload, nil, time.Now().Add(l.timeout)); err != nil {
		return fmt.Errorf("%v: %w", cmd, err)
	}
	return nil
}

func (l *link) transmit(h wire.Header, payload appender, fds []int, deadline time.Time) error {
	l.send.Lock()
	defer l.send.Unlock()
	if err := l.gone(); err != nil { // the descriptor may be closed
		return err
	}
	l.send.buf = payload.Append(frame(l.send.buf))
	if err := l.s.send(finish(l.send.buf, h), fds, deadline); err != nil {
		l.fail(ended(err)) // half a message may be out
		return l.gone()
	}
	return nil
}

func (l *link) register(c *call) (uint16, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err != nil {
		return 0, l.mu.err
	}
	if len(l.mu.waiting) >= maxCalls {
		return 0, fmt.Errorf("%d messages wait for an answer: %w", maxCalls, unix.EAGAIN)
	}
	for l.mu.waiting[l.mu.next] != nil {
		l.mu.next++
	}
	id := l.mu.next
	l.mu.next++
	l.mu.waiting[id] = c
	return id, nil
}

// fail ends the connection; the first cause counts.
func (l *link) fail(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.err == nil {
		l.mu.err = goneError(cause)
	}
	if !l.mu.closed {
		l.s.shutdown()
	}
}

// violation is fail for a peer that breaks the protocol, and the error for the caller.
func (l *link) violation(cause error) error {
	l.fail(fmt.Errorf("%w: %w", ErrProtocol, cause))
	return l.gone()
}

// gone is nil while the connection stands.
func (l *link) gone() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.err
}

// run reads until the connection ends.
func (l *link) run() {
	defer close(l.done)
	for {
		m, err := l.s.receive(time.Time{}, l.timeout, -1)
		if err != nil {
			l.fail(ended(err))
			return
		}
		if m.IsReply() {
			err = l.deliver(m)
		} else {
			err = l.command(m)
		}
		if err != nil {
			m.closeFDs()
			l.fail(err)
			return
		}
	}
}

// ended says what an error of the socket means.
func ended(err error) error {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, unix.EPIPE, unix.ECONNRESET} {
		if errors.Is(err, end) {
			return fmt.Errorf("the server has ended the connection: %w", err)
		}
	}
	return err
}

// deliver hands an answer to its caller.
func (l *link) deliver(m *message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.mu.waiting[m.ID]
	if c == nil || c.cmd != m.Command {
		return fmt.Errorf("%w: an answer to %v, message %d, which was not sent", ErrProtocol, m.Command, m.ID)
	}
	delete(l.mu.waiting, m.ID)
	m.payload = append([]byte(nil), m.payload...)
	c.reply = m
	close(c.ready)
	return nil
}

// command carries a command of the server out.
func (l *link) command(m *message) error {
	defer m.closeFDs() // none belongs to them
	l.send.Lock()
	defer l.send.Unlock()
	b, errno := l.serve(m, frame(l.send.buf))
	if m.Flags&wire.FlagNoReply != 0 {
		return nil
	}
	h := wire.Header{ID: m.ID, Command: m.Command, Flags: wire.FlagReply}
	if errno != 0 {
		b, h.Flags, h.Errno = b[:wire.HeaderSize], h.Flags|wire.FlagError, uint32(errno)
	}
	l.send.buf = b
	return l.s.send(finish(b, h), nil, time.Now().Add(l.timeout))
}

// close ends the connection and waits for the reader.
func (l *link) close() error {
	l.fail(errors.New("closed"))
	<-l.done
	l.send.Lock() // a sender that is under way has the descriptor in use
	defer l.send.Unlock()
	if !l.markClosed() {
		return nil
	}
	return l.s.close()
}

// markClosed tells whether this is the first time.
func (l *link) markClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.mu.closed
	l.mu.closed = true
	return first
}

// Lock order: send before mu.
