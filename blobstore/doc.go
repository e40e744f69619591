// Package blobstore keeps blobs on a block device in SPDK's on-disk format and makes every change to their metadata a
// transaction that survives power loss.
//
// A blob is an ordered set of clusters with named attributes (xattrs). A transaction ([Tx]) creates, deletes, resizes
// and sets attributes of any number of blobs: all of it or none, in memory and across a crash. Data is read and written
// through [Blob], in place and without a journal; [Store.SyncData] makes it durable, and [Store.SyncVouched] makes data and
// the transaction that makes it visible durable under one flush.
//
// # On the device
//
//	page 0          superblock                                           format_super.go
//	page 1 ...      masks of used pages, clusters and blob ids           format_mask.go
//	md_start ...    metadata region: pages of descriptors, one chain     format_page.go, format_descriptor.go
//	                for each blob
//	clusters        data; one blob is the journal                        format_journal.go, format_record.go
//
// A store that was closed is SPDK's (version 3, clean); while one of our writers has it open the superblock carries a
// version that SPDK refuses. docs/format-blobstore.md and docs/format-journal.md have the bytes.
//
// # Promises
//
// Commit orders transactions; they become durable in that order, when [Store.Sync] says so or earlier. After a crash the
// metadata is the state after some transaction, none earlier than the newest that Sync had acknowledged. A vouched
// change that was not acknowledged may be missing by itself if its bytes are; nothing else of any transaction is.
// Clusters that a transaction frees are not used again before it is durable and the I/O on them is done. What a blob
// grows by has undefined content: hiding it is the caller's business (blobfs writes zeros).
//
// A write or read that fails is repeated within a bound and then reported. A failed flush or journal write makes the
// store read-only ([Store.Err]); the next open recovers what was durable.
//
// # Reading order
//
// store.go (what an open store is), tx.go and plan.go (how a transaction becomes visible), journal.go and sync.go (how it
// becomes durable), checkpoint.go (how metadata pages change), mount.go, replay.go and redo.go (how a store opens),
// space.go (clusters), io.go and extentmap.go (data), load.go (metadata pages as found), check.go.
//
// # Goroutines and locks
//
// All methods may be called from any goroutine. An open store has one goroutine of its own (worker.go), which sleeps
// unless there is something to do. Locks are taken in this order:
//
//	Store.checkpointing   one checkpoint at a time; held across I/O
//	journal.writing       one writer of the ring at a time; held across the write of a frame, not across flushes
//	Store.mu              all state in memory; never held across I/O
//
// The caller of SyncVouched must not wait for another transaction between the Commit of a vouched change and the call:
// a checkpoint that others wait for may wait for the call.
package blobstore
