// Package procstat reads what the operating system knows about a running benchmark: CPU time of the process and of the
// whole machine, bytes at a disk, the file system a path lies on, memory, and the page cache.
//
// Everything but ProcessCPU comes from Linux's /proc and /sys; elsewhere the functions return ErrUnsupported and callers
// print a dash. The parsers take bytes and are portable, so that they are tested everywhere.
package procstat

import "errors"

// ErrUnsupported is returned where the platform does not offer a figure or an action.
var ErrUnsupported = errors.New("procstat: not available on this platform")
