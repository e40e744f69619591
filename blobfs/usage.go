package blobfs

import "sync/atomic"

// counters are what Stats reports.
type counters struct {
	user, written, zeroed, loaded, readAhead, deviceReads atomic.Int64
}

// Stats counts since the mount. All but DeviceReads are bytes.
type Stats struct {
	UserBytes      int64 // passed to Write
	WrittenBytes   int64 // file content written to the store, in whole blocks, each time it was
	ZeroedBytes    int64 // zeros written over gaps and ahead of logs
	LoadedBytes    int64 // read because a write covered only part of a block
	ReadAheadBytes int64 // read before they were asked for
	DeviceReads    int64 // reads that went to the store, read-ahead not counted
	WriteBuffer    int64 // write-behind memory in use now
	ReadBuffer     int64 // read-ahead memory in use now
}

// Stats returns the counters.
func (fs *FS) Stats() Stats {
	return Stats{
		UserBytes:      fs.stats.user.Load(),
		WrittenBytes:   fs.stats.written.Load(),
		ZeroedBytes:    fs.stats.zeroed.Load(),
		LoadedBytes:    fs.stats.loaded.Load(),
		ReadAheadBytes: fs.stats.readAhead.Load(),
		DeviceReads:    fs.stats.deviceReads.Load(),
		WriteBuffer:    fs.writeMem.Stats().Used,
		ReadBuffer:     fs.readMem.Stats().Used,
	}
}

// Usage is the space of the file system in bytes. Blobs take whole clusters.
type Usage struct{ TotalBytes, FreeBytes, UsedBytes int64 }

// Usage returns the space. It is cheap.
func (fs *FS) Usage() Usage {
	free := fs.store.FreeClusters() * fs.cluster
	return Usage{TotalBytes: fs.total, FreeBytes: free, UsedBytes: fs.total - free}
}
