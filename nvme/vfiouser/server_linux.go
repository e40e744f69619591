package vfiouser

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/blobkv/blobkv/internal/filelock"
	"github.com/blobkv/blobkv/nvme/vfiouser/wire"
)

// Server offers a device to one client at a time.
type Server struct {
	path     string
	dir      *os.File // locked while the server lives
	listener int
	socket   unix.Stat_t // which file is ours
	device   Device
	o        ServerOptions
	turnDown chan struct{} // a place for each connection that is being refused
	refusals sync.WaitGroup
	refused  string // who was refused last during this session
	stats    serverStats
}

// ServerStats of a Server.
type ServerStats struct {
	Sessions, Refused uint64 // clients that were served; those that were not, because another one was
	Connected         bool   // a client is being served
	Messages          uint64
	Commands          uint64 // that were taken from queues
}

type serverStats struct {
	sessions, refused, messages, commands atomic.Uint64
	connected                             atomic.Bool
}

// maxTurnDowns bounds the connections that wait to be refused.
const maxTurnDowns = 8

// Listen prepares to serve at the socket "cntrl" of a folder, which is made when it does not exist. ErrInUse when another server has it; a socket
// that a dead one has left is replaced. Whatever else is in the place of the socket stays, and is an error.
func Listen(dir string, d Device, o ServerOptions) (*Server, error) {
	if err := d.Info().validate(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("making the folder of the socket: %w", err)
	}
	f, err := os.OpenFile(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the folder of the socket: %w", err)
	}
	s := &Server{path: filepath.Join(dir, socketName), dir: f, listener: -1, device: d, o: o.withDefaults(), turnDown: make(chan struct{}, maxTurnDowns)}
	if err := s.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.path, err), s.Close())
	}
	return s, nil
}

func (s *Server) listen() error {
	if err := filelock.Lock(s.dir.Fd(), filelock.Exclusive); err != nil {
		if errors.Is(err, filelock.ErrHeld) {
			return fmt.Errorf("%w: the folder is %w", ErrInUse, err)
		}
		return err
	}
	if err := removeStale(s.path); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	s.listener = fd
	err = withAddress(s.path, func(a *unix.SockaddrUnix) error { return unix.Bind(fd, a) })
	if err != nil {
		return fmt.Errorf("making the socket: %w", err)
	}
	if err := unix.Lstat(s.path, &s.socket); err != nil {
		return err
	}
	return unix.Listen(fd, maxTurnDowns)
}

// removeStale removes a socket that nobody listens to. The folder is locked, so none of our servers is starting.
func removeStale(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("something that is no socket is in the way: %w", os.ErrExist)
	}
	fd, err := dial(path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%w: another program serves it", ErrInUse), unix.Close(fd))
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	default:
		return fmt.Errorf("%w: the socket is there, and connecting says: %w", ErrInUse, err)
	}
}

// Path is the socket.
func (s *Server) Path() string { return s.path }

// Stats returns the present figures. Any goroutine may call it.
func (s *Server) Stats() ServerStats {
	return ServerStats{Sessions: s.stats.sessions.Load(), Refused: s.stats.refused.Load(), Connected: s.stats.connected.Load(),
		Messages: s.stats.messages.Load(), Commands: s.stats.commands.Load()}
}

// Serve serves one client after the other until the context ends, and returns nil then. What a client does wrong ends its session.
// The calling goroutine keeps its thread, and is the one that calls the controller.
func (s *Server) Serve(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	var signalled sync.WaitGroup
	signalled.Add(1)
	cancel := context.AfterFunc(ctx, func() {
		defer signalled.Done()
		_ = signalEvent(stop) // a fresh eventfd takes it
	})
	err = s.accept(stop)
	if !cancel() { // the function runs, or has run
		signalled.Wait()
	}
	if errors.Is(err, errStopped) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", s.path, err)
	}
	return errors.Join(err, unix.Close(stop))
}

// accept takes clients, one at a time.
func (s *Server) accept(stop int) error {
	for {
		if err := waitFor(s.listener, unix.POLLIN, time.Time{}, stop); err != nil {
			return err
		}
		fd, err := s.acceptOne()
		if err != nil {
			return err
		}
		if fd < 0 {
			continue
		}
		if err := s.session(fd, stop); err != nil {
			return err
		}
	}
}

// acceptOne returns -1 when the client has gone again.
func (s *Server) acceptOne() (int, error) {
	fd, _, err := unix.Accept4(s.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	switch err {
	case nil:
		return fd, nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNABORTED:
		return -1, nil
	case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
		time.Sleep(10 * time.Millisecond) // the connection stays in the queue
		return -1, nil
	default:
		return -1, fmt.Errorf("accepting a connection: %w", err)
	}
}

// session serves one client and says how it ended. Its error is one that ends the server.
func (s *Server) session(fd, stop int) error {
	s.stats.sessions.Add(1)
	s.stats.connected.Store(true)
	defer s.stats.connected.Store(false)
	who := peerName(fd)
	s.o.Log("client connected: " + who)
	s.refused = ""
	// For memory of the client whose file was cut short. What is under way ends after run.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	ss, err := newSession(s, fd, stop)
	if err != nil {
		s.o.Log(fmt.Sprintf("client gone: %s: %v", who, err))
		return nil // the next one may fare better
	}
	why := ss.run()
	err = ss.close()
	s.o.Log(fmt.Sprintf("client gone: %s: %v", who, why))
	if errors.Is(why, errStopped) {
		err = errors.Join(why, err)
	}
	return err
}

// refuse turns down a client that comes while another one is served: its first message is answered with EBUSY.
func (s *Server) refuse() error {
	fd, err := s.acceptOne()
	if err != nil || fd < 0 {
		return err
	}
	s.stats.refused.Add(1)
	select {
	case s.turnDown <- struct{}{}:
	default:
		return unix.Close(fd) // too many at once to be polite
	}
	if who := peerName(fd); who != s.refused { // it may try several times a second
		s.o.Log("client refused, another one is connected: " + who)
		s.refused = who
	}
	s.refusals.Go(func() {
		sock := newSocket(fd)
		answerBusy(sock)
		_ = sock.close() // nothing was promised to this client
		<-s.turnDown
	})
	return nil
}

// refusePatience is how long a client that is turned down may take to send its first message.
const refusePatience = time.Second

// answerBusy does its best: the client may have gone.
func answerBusy(sock *socket) {
	end := time.Now().Add(refusePatience)
	m, err := sock.receive(end, refusePatience, -1)
	if err != nil {
		return
	}
	m.closeFDs()
	h := wire.Header{ID: m.ID, Command: m.Command, Flags: wire.FlagReply | wire.FlagError, Errno: uint32(unix.EBUSY)}
	_ = sock.send(finish(frame(nil), h), nil, end)
}

// Close removes the socket and gives the folder free. Serve has returned.
func (s *Server) Close() error {
	s.refusals.Wait()
	var err error
	if s.listener >= 0 {
		err = errors.Join(s.removeSocket(), unix.Close(s.listener))
		s.listener = -1
	}
	return errors.Join(err, s.dir.Close())
}

// removeSocket leaves a file that somebody else has put there.
func (s *Server) removeSocket() error {
	var now unix.Stat_t
	if s.socket.Ino == 0 || unix.Lstat(s.path, &now) != nil || now.Ino != s.socket.Ino || now.Dev != s.socket.Dev {
		return nil
	}
	return os.Remove(s.path)
}

// peerName is the process at the other end, as far as the system tells.
func peerName(fd int) string {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return "unknown process"
	}
	return fmt.Sprintf("process %d, user %d", cred.Pid, cred.Uid)
}
