// Package filebdev is the portable backend: an image file through os.File with pread, pwrite and fsync, on every system
// Go runs on. Data passes the host's page cache. On Linux aiobdev is the better choice.
//
// Every operation blocks, so all of them run through Execute: on the caller's goroutine, or on the core's workers.
package filebdev
