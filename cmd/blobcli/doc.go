// Command blobcli looks into a store, checks it, moves files in and out of it, mounts it, and measures the device below it.
//
// It opens the device alone: a store that another process has open is named as in use. Every command is read-only unless
// its verb writes (init, put, rm, mount --rw, bdev perf with a writing workload, bdev export, nvme
// format). See exit.go for the exit codes.
package main
