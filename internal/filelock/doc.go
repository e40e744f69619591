// Package filelock keeps two openers away from one image file or block device, and names the process that is in the
// way.
//
// A lock belongs to the open file description, so two opens within one process exclude each other too, and it ends
// with the descriptor: a killed process leaves nothing behind. It is advisory: only openers that ask are kept out.
//
// The unix variant is flock rather than fcntl's open-file-description locks, because the kernel records the pid of a
// flock's owner, which is what lets the error say who it is (holder_linux.go).
package filelock
