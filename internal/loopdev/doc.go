// Package loopdev makes block devices of Linux out of files, to measure on a disk that can be formatted without a spare one:
// loop devices without discard that do direct I/O on a file whose every byte was written before, and an ext4 with a journal on one of them.
//
// It needs root. Nothing outlives the process by itself but a mount: the file has no name from the start, and the kernel
// detaches the device when its last user is gone.
package loopdev

import "errors"

// ErrUnavailable is returned where there are no loop devices to be had: on another system, without root, without the
// driver or without the programs of ext4.
var ErrUnavailable = errors.New("loop devices are not available")
