package qemutest

import "errors"

// Sentinels.
var (
	ErrMissing = errors.New("not installed")            // a program or the kernel package; the message says how to get it
	ErrGuest   = errors.New("the guest failed")         // it ended early, in a panic, or ran out of time
	ErrMonitor = errors.New("QEMU's monitor refused")   // a QMP command
	ErrLog     = errors.New("damaged log of writes")    // of blklogwrites
	ErrModule  = errors.New("kernel module is missing") // in the kernel package
)
