// Package blobfs is a file system on a blobstore: every file is a blob, every name is an attribute of a blob, every
// sync is a transaction.
//
// # What is on the device
//
// A file is a blob; its exact length is an attribute, and so is each of its names: {directory's blob id, name}. A
// directory is a blob of zero clusters; the root's id is fixed. The tree is the set of blobs: there is no second
// structure to keep consistent with it. format_xattr.go has the bytes.
//
// # What is promised
//
// Create, remove, rename (also over an existing file), link and mkdir are one transaction each. After a crash the
// namespace is that of some moment between the last Sync of a directory (or of a file that was changed later) and the
// crash: a prefix of the operations. The names of files that were never synced may exist, with length 0.
//
// File.Sync makes bytes, exact length and the names of the file durable. Of bytes written since, a crash keeps any, but
// the length stays the synced one (or that of a truncation since, whose cut-off bytes may read as zeros): no byte shows
// that was not written to this file. Where the length did not change a
// sync is one data write and one flush. Where up to 256 KiB were appended, data and journal go out together under one
// flush, and the length vouches for the bytes with their checksum.
//
// An error means that nothing was done, or says what was (the count of a Write). Running out of space is found before
// anything is damaged: a write takes clusters before it takes bytes. A failed background write stays in memory and is
// tried again by the next sync, which returns the error if it fails again. After a failed flush the store is read-only.
//
// Closing an open file does not sync it. Closing the file system makes everything durable.
//
// # Memory
//
// Write-behind memory (16 MiB by default) and read-ahead memory (8 MiB) are bounded for the whole file system. A file
// that needs a buffer when there is none waits for its own oldest writes, takes from files nobody is writing to, and
// gets on with a single block if all else fails, so that no writer waits for another one. A file at rest takes less
// than 300 bytes and its name.
//
// # Who may call what
//
// FS, Node: any goroutine. File: any goroutine, but Read and Write, which share an offset, one at a time for each handle,
// and Close last. Any number of handles may be open on a file; they see each other's writes at once.
//
// # Reading order
//
// format_xattr.go, scan.go and mount.go (from attributes to a tree), node.go and namespace.go (the tree), dirops.go
// (its operations), at.go (the same by node instead of path), file.go (handles), data.go (an open file and its locks),
// chunk.go, writer.go, flight.go, memory.go (write-behind), grow.go, truncate.go, voucher.go, sync.go, logahead.go,
// reader.go, bounce.go, readahead.go, version.go, check.go, legacy.go (SPDK's own BlobFS, for reading).
//
// # Lock order
//
//	FS.ns             the tree; held across commits, never across data I/O but that of a deletion
//	fileData.syncMu   one sync or truncation of a file
//	fileData.wmu      writers of a file; reclaim only tries the wmu of other files
//	readAhead.mu      of one handle
//	fileData.mu       chunks, shared with readers
//	holders.mu, zeroBuffer.mu   leaves
package blobfs
