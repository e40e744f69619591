package filelock

import (
	"errors"
	"fmt"
	"os"
)

// Mode is how a file is locked.
type Mode uint8

const (
	// Exclusive keeps every other opener out: for writers.
	Exclusive Mode = iota
	// Shared admits other Shared locks and no Exclusive one: for readers.
	Shared
)

// ErrHeld is returned (wrapped, as a *HeldError) by Lock when another opener has a lock that excludes this one.
var ErrHeld = errors.New("in use")

// HeldError says who holds the lock, as far as the system tells.
type HeldError struct {
	PID  int    // 0: not known
	Name string // the process's name; "" when not known
}

// Error reads "in use by process 4711 (kvbench)", or less where less is known.
func (e *HeldError) Error() string {
	switch {
	case e.PID == os.Getpid():
		return "in use by this process"
	case e.PID != 0 && e.Name != "":
		return fmt.Sprintf("in use by process %d (%s)", e.PID, e.Name)
	case e.PID != 0:
		return fmt.Sprintf("in use by process %d", e.PID)
	default:
		return "in use by another process"
	}
}

// Is makes errors.Is(err, ErrHeld) true.
func (e *HeldError) Is(target error) bool { return target == ErrHeld }
