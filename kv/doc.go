// Package kv is an embedded key-value store that owns its storage down to the device queue: an LSM tree (Pebble) on
// BlobFS on a blobstore on a block device, without the kernel's file system or page cache.
//
// # Durability
//
// Set, Delete, DeleteRange and Batch.Commit return when the change is on the device and survives a crash of the
// process, of the operating system and a power cut. Passing NoSync gives that up for one call: the change is visible at
// once and becomes durable with the next synced call of any goroutine, or at Close; a crash before that loses it, and
// with it only changes that were made after it with NoSync. What survives is always a prefix of the order of commits, and a batch is
// there as a whole or not at all.
//
// # Devices
//
// A store lives on one device, named by one string:
//
//	/var/lib/app/store.img           an image file, through Linux AIO, or plain file calls elsewhere
//	aio:/dev/sdb?policy=poll         Linux AIO on a block device
//	aio:/var/lib/app/store.img?size=64GiB
//	nvme:0000:01:00.0/1              an NVMe drive driven from this process, with no kernel on the data path (docs/nvme.md)
//	malloc:1GiB                      RAM, gone at Close
//
// Options.CreateIfMissing makes the image file (mode 0600, sparse) and the store. A device that holds anything else (a
// partition table, a file system, another store, a damaged store) is never formatted by this package.
//
// A device has at least MinSize bytes (16 MiB). One process at a time may have a store open for writing; any other one,
// also one that only wants to read, gets ErrInUse, naming the first. Several may read at a time, and keep a writer out. A store keeps the
// size that it was made with.
//
// # Damage
//
// Reads of damaged bytes answer ErrCorrupt; everything else can still be read. A store whose file system knows of a
// damaged file opens only with Options.ReadOnly: to an engine a lost file is one that never was.
//
// Close leaves what was written in tables, so a closed store depends on no log. A log that must be replayed, after a crash or
// a Close that found no room, is looked at first: where records that were durable cannot be read, Open answers ErrCorrupt
// and names file and place; with ReadOnly it reads what was committed before and counts it in Metrics. The last changes
// before a crash that were acknowledged together are the exception: damage to them alone cannot be told from a write that
// the crash cut off.
//
// # Memory
//
// With the default options a store takes at most 128 MiB for blocks, four times Options.MemTableSize (4 x 16 MiB) for
// recent writes, and less than 48 MiB for everything below Pebble: write-behind, read-ahead, metadata and device buffers
// (46 MiB of device memory at most, 38 for each further store, and what describes the files: 1 KiB each at most). Caches and memtables grow on demand; a
// small store uses little of this.
//
// Blocks are cached twice: Options.CacheSize (32 MiB) of them ready for use, and Options.CompressedCacheSize (96 MiB) as
// they lie on the device, as a page cache would have them. What is found in the second is decompressed, which takes a few
// microseconds; what is in neither is read from the device, which takes tens of them or more. A block in the first is
// usually in the second too, so halves are a bad division: give nearly all to the second if the data is larger than
// memory, or to the first if it all fits there uncompressed. The first should hold the indexes and filters of the
// tables, about 1 % of the data before compression.
//
// # A full device
//
// Set and Commit answer ErrNoSpace before the change enters the engine while less than a reserve is free: room for the
// engine's log, for every memtable as a table, for the deletes that make room again and for one compaction, about 31
// memtables (500 MiB with the default, less on devices under 4 GiB: an eighth of them; half of the smallest. Metrics
// tells). The store stays readable. Delete, DeleteRange and batches of nothing but deletes may use part of the reserve,
// and compactions another part, so that deleting and then Compact frees space again; a DeleteRange over whole tables frees them by itself.
//
// A write that finds no room while a compaction runs waits for it, ten seconds at most: compactions take room and give
// it back. The reserve grows by up to an eighth of the device while flushes outrun compactions, so a write that was
// refused may succeed later. Iterators and snapshots keep the tables they read: what they hold on to is free only when
// they are closed. ErrNoSpace is also the answer when an image file is sparse and the file system below it fills up, and of
// Open where a new store could not take a single change, or where the log of a store that crashed finds no room as tables
// (nothing is lost, and ReadOnly reads all of it).
//
// While compactions fail, for want of room or because a table is damaged, writes are refused with ErrStalled before they
// could wait for one in vain. The engine tries again after half a minute, after five where it met damage; Compact at once.
//
// # Errors that end the process
//
// The engine treats its log as the one thing that must not fail. A device error other than lack of space that
// persists through the retries below (a write, a flush, or the sync of the log or the MANIFEST reports an I/O error, or
// the device is gone) makes it panic with a message that names the error: nothing after it could be promised. Where that
// happens while one log follows another the program ends with "unlock of unlocked mutex" instead, which is the engine's way
// (Pebble 2.1, rotateWAL panics without the lock that its callers give back) and cannot be recovered from.
// Errors of reads, of flushes and of compactions are returned or reported to Options.Logger and counted in Metrics, and the
// store goes on.
//
// # Goroutines
//
// DB and Snapshot may be used from any goroutine. A Batch or an Iterator belongs to one goroutine at a time. Keys and
// values passed in are not kept; what each method returns says who owns it.
package kv
