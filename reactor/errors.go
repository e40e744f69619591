package reactor

import "errors"

// ErrPin is returned by Start when the thread cannot be pinned to Options.CPUs: there is no such CPU, the process may
// not use it, or the operating system has no such call.
var ErrPin = errors.New("reactor: cannot pin the thread")
