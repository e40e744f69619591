package nvme

import (
	"fmt"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// sequence is a procedure that waits between its steps without a goroutine: each step is a named state with a deadline.
// Controller.Poll advances it. It is guarded by Controller.mu.
type sequence struct {
	c        *Controller
	state    string               // what it waits for, in words
	deadline time.Duration        // when that is a timeout
	ready    func() (bool, error) // whether it has come about; nil when the sequence is not running
	next     func() error         // what to do then
	call     call                 // the command it waits for
}

func (s *sequence) running() bool { return s.ready != nil }

func (s *sequence) stop() { s.ready, s.next = nil, nil }

// wait makes the sequence wait for a condition, at most for a time, and then go on.
func (s *sequence) wait(state string, atMost time.Duration, ready func() (bool, error), next func() error) error {
	s.state, s.deadline, s.ready, s.next = state, s.c.now+atMost, ready, next
	return nil
}

// advance goes on as far as it can without waiting. An error ends the sequence.
func (s *sequence) advance() error {
	for s.running() {
		ok, err := s.ready()
		if err == nil && !ok {
			if s.c.now < s.deadline {
				return nil
			}
			err = ErrTimeout
		}
		if err != nil {
			state := s.state
			s.stop()
			return fmt.Errorf("%s: %w", state, err)
		}
		next := s.next
		s.stop()
		if err := next(); err != nil {
			s.stop()
			return err
		}
	}
	return nil
}

// ask sends an admin command with the sequence's page as its data, and goes on when it is answered. Errors of the command
// end the sequence, unless refused is given, which decides.
func (s *sequence) ask(state string, cmd spec.Command, next func() error, refused func(error) error) error {
	if transferred(&cmd) {
		clear(s.call.data.Bytes)
		cmd.PRP1 = s.call.data.IOVA
	}
	s.call.reset(cmd)
	if !s.c.submitCall(&s.call) {
		return fmt.Errorf("%s: the admin queue is full: %w", state, ErrProtocol)
	}
	ready := func() (bool, error) {
		if !s.call.done || s.call.req.Err == nil || refused == nil {
			return s.call.done, s.call.req.Err
		}
		return true, refused(s.call.req.Err)
	}
	return s.wait(state, s.c.o.AdminTimeout, ready, next)
}

// transferred tells whether a command of a sequence reads or writes the sequence's page: its opcode says so, but for
// features, where a value in a dword has no data.
func transferred(c *spec.Command) bool {
	if c.PRP1 != 0 || c.Opcode == spec.AdminSetFeatures || c.Opcode == spec.AdminGetFeatures {
		return false
	}
	return spec.Transfer(c.Opcode) == spec.TransferToHost
}

// tolerate lets a sequence go on when the controller refuses a command.
func tolerate(err error) error {
	if _, ok := err.(*StatusError); ok {
		return nil
	}
	return err
}
