// Package sqlite runs SQLite on blobfs: VFS is what SQLite asks of an operating system.
//
// The tests let SQLite judge blobfs. It syncs no more than it must, knows what it has been promised after a power cut,
// and finds by itself whether its file is sound. Reading order: vfs.go (names), file.go (bytes, and what is declared
// about them), lock.go (locks between the connections of a process), then the tests.
package sqlite
