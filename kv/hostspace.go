package kv

// hostSpace returns the free bytes of the file system that holds an image file and the bytes of the image that the file
// system has not allocated yet. Nil: the device has no host.
type hostSpace func() (free, unallocated int64, err error)
