package blobstore

import "github.com/blobkv/blobkv/bdev"

// Device is the block device a store lies on. The name stands here for the layer above, which hands a device through
// and has no business with it.
type Device = bdev.Device
