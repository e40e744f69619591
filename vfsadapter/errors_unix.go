//go:build !windows

package vfsadapter

import "syscall"

var errNoSpace error = syscall.ENOSPC
