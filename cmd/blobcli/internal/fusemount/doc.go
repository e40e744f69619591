// Package fusemount shows a BlobFS to the kernel as a file system, through FUSE. It is the only package that knows
// go-fuse; what users need to know is in docs/mount.md.
//
// The kernel is the only way into the file system while it is mounted, so it may cache names, attributes and content for
// as long as it likes, and orders what must be ordered: namespace changes of a directory, writes of a file, a truncation
// and the pages it cuts. Requests still come in parallel; blobfs takes them from any goroutine, so there is no lock here.
//
// A node of the kernel holds a blobfs.Node, not a path: renames above it cost nothing, and a file that was removed is
// still the same file to those who have it open.
//
// # Reading order
//
// fusemount.go (what callers see), mount_linux.go (mount and unmount), precheck_linux.go and users_linux.go (why it would
// fail, and who is in the way), node_linux.go (names), attr_linux.go, handle_linux.go (open files), errno_linux.go,
// legacy_linux.go (SPDK's BlobFS), other.go (where there is no FUSE).
package fusemount
