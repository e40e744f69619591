// Package vfsadapter is Pebble's file system interface (vfs.FS and vfs.File) on BlobFS.
//
// Pebble relies on more than its interface's comments say, and on less than POSIX. The table lists every method, what
// this package promises, and what of Pebble's contract that answers.
//
//	FS METHOD       PROMISE                                          WHY PEBBLE NEEDS IT
//	Create          a new, empty file; an existing name is           "removed first ensuring the resulting file
//	                replaced by a new inode in one transaction,      descriptor points to a new inode": a checkpoint's
//	                other links keep the old content                 linked tables must not change
//	Link            a second name of the same file; ErrExist if      checkpoints and ingestion; both names survive the
//	                the new name exists                              removal of the other
//	Open            reading; sees every byte written so far through  a checkpoint copies the live log through a second
//	                any handle, synced or not. RandomReadsOption     handle; compactions reopen tables with
//	                reads exactly what is asked, through             SequentialReadsOption and do no read-ahead of
//	                Options.Cache; SequentialReadsOption             their own
//	                reads ahead
//	OpenReadWrite   reading and WriteAt; created if missing          the cache of remote tables
//	OpenDir         a handle whose Sync makes every earlier          names of logs and tables must survive before the
//	                namespace change durable (of any directory:      MANIFEST speaks of them; syncs of one directory
//	                there is one journal); calls may overlap         overlap
//	Remove          the name is gone; open handles keep reading      iterators read tables that are already obsolete
//	RemoveAll       the whole tree; nil if there is none             clean-up after a failed checkpoint
//	Rename          atomic, also across a crash, also over an        OPTIONS files, archiving, recycled logs
//	                existing file and into another directory
//	ReuseForWrite   Rename, then open at offset 0; length and        a recycled log costs no allocation and its sync no
//	                space are kept, bytes that are not overwritten   metadata; an error here is fatal to Pebble. Its
//	                are unspecified (the old ones, or zeros)         reader takes either for the end of the log
//	MkdirAll        like os.MkdirAll                                 Open
//	Lock            exclusive within the process; the file is        the device below has its own lock between
//	                visible and empty; gone with the process.        processes. EAGAIN on the second attempt
//	                On a read-only mount nothing is created
//	List            base names, each once                            the set of tables and markers at Open
//	Stat            the exact length in bytes                        Open compares each table's length with the MANIFEST
//	GetDiskUsage    cheap: now and then it asks the host             called after every flush and compaction
//	Unwrap          nil, or Options.Base                             vfs.Root in Pebble's crash tests
//
//	FILE METHOD     PROMISE                                          WHY PEBBLE NEEDS IT
//	Read, ReadAt    io.EOF at the exact length; ReadAt from any      one ReadAt per block, unaligned, in parallel on one
//	                goroutine, in parallel; short only with an error handle
//	Write           appends at the handle's offset; p is neither     "allowed to modify the slice": this one does not
//	                changed nor kept
//	Sync, SyncData  bytes, exact length and the file's names are     a table is synced, closed, its directory synced,
//	                durable                                          then the MANIFEST names it
//	SyncTo          starts write-back of the prefix and promises     bounded dirty memory without a blocking sync every
//	                nothing: (false, nil)                            512 KiB
//	Preallocate     space is reserved, the length does not change    logs; the error is ignored by Pebble
//	Prefetch        advisory read-ahead, returns at once             iterators that turn out to be sequential
//	Fd              a number that no descriptor has                  vfs.InvalidFd would turn SyncTo and Preallocate off
//	Stat            as FS.Stat, of this handle's file or directory,  recycled logs
//	                whatever its name is now; not after Close
//
// Metadata is applied in order: after a crash the namespace is a prefix of the operations, at least up to the last
// directory sync. Pebble's markers (create the new one, remove the old one, sync the directory) need no more.
//
// # Space
//
// Pebble cannot survive an error from its log or its MANIFEST, and does not get on without flushes. A compaction it
// can do later. Options.CompactionFloor keeps the last free bytes for the former: a table that a compaction writes is
// refused with ENOSPC while less is free, unless Options.AwaitRoom has it wait for another compaction to end.
//
// # The cache of blocks
//
// The last 64 KiB of a table that Pebble opens with RandomReadsOption are read with its footer and answer what else opening
// takes; see tail.go.
//
// Pebble opens a table with RandomReadsOption and reads each of its blocks with one ReadAt, always of the same bytes.
// Options.Cache keeps them as they are, that is compressed, by what the file's content is called (blobfs.File.Version)
// and the offset. Only whole reads without an error are kept, and nothing of a file that somebody has open for writing;
// compactions, which read tables once and in order, go past it. FS.Distrust is for who finds that what was read is not
// what was written.
//
// # Goroutines
//
// FS and its methods may be used from any goroutine. Of a File, ReadAt, Prefetch and Stat may; Write and the syncs are
// sequential per handle, as Pebble promises. The sync of a directory may be concurrent.
package vfsadapter
