// Package aiobdev is the block device over Linux native AIO: a regular file (an image) or a block device, opened with
// O_DIRECT so that the page cache is not on the path.
//
// Reads and writes are asynchronous: io_submit puts a batch into the kernel with one system call, and completions are
// read out of the ring that the kernel maps into this process, without a system call. io_getevents is used to sleep
// for completions, and for everything where the ring has a layout this package does not know.
//
// All else is a plain blocking system call on the caller's goroutine (Backend.Execute): flush is fdatasync, unmap
// punches holes or discards, and so on. That is a measured choice: AIO's own forms of fdatasync and of synchronous
// writes are several times slower, as they go through the kernel's work queues, which starve behind a busy poller.
//
// What a caller should know:
//
//   - A flush is durable, and covers the metadata of the file system below an image.
//   - io_submit can block for milliseconds when a write meets a hole of an image, which the file system must allocate
//     first. No lock is held meanwhile.
//   - Buffers may be any Go memory; the queue keeps each request, and so its buffer, reachable until its completion.
//   - An image is locked, exclusively by a writer and shared by readers; a block device opened for writing is claimed
//     with O_EXCL too, which mounted devices refuse.
//   - WriteZeroes on an image leaves unwritten extents, which are cheap to make and slow to overwrite durably. Ranges that
//     must be fast later (logs) are better written with zeros.
//
// Reading order: open_linux.go (file, lock, size), geometry_linux.go (what direct I/O needs here), ring_linux.go (the
// kernel's structures and system calls, and the only unsafe code), slots_linux.go and queue_linux.go (the I/O path),
// execute_linux.go (the blocking operations). On other systems Open returns bdev.ErrUnsupported.
package aiobdev
