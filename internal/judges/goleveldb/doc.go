// Package goleveldb runs goleveldb on blobfs: Storage is what goleveldb asks of an operating system.
//
// The tests let it judge blobfs, with every strict flag set: it refuses a journal or manifest with a torn end, which a
// file system of blobfs's promises never shows it. Reading order: storage.go, then the tests.
package goleveldb
