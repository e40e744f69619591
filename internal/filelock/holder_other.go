//go:build unix && !linux

package filelock

// holder cannot name the owner: only Linux lists the locks of other processes.
func holder(uintptr) *HeldError { return &HeldError{} }
