package blobstore

import (
	"github.com/blobkv/blobkv/bdev"
)

// BlobID names a blob: the index of its first metadata page in the low 32 bits, bit 32 set (SPDK spdk_blob_id).
type BlobID uint64

// LSN is the sequence number of a metadata transaction. Transactions apply and become durable in LSN order.
type LSN uint64

// FormatOptions say how Format lays a store out. The zero value is a good choice.
type FormatOptions struct {
	ClusterSize int    // bytes, a power-of-two multiple of 4096; 0: 1 MiB, less on small devices
	MDPages     int    // metadata pages (one per blob at least); 0: derived from the cluster count
	Type        string // bstype, at most 16 bytes
	JournalSize int64  // bytes; 0: derived
	Force       bool   // format although the device holds something that is not ours
	Progress    func(done, total int64)
}

// OpenOptions say how a store is opened.
type OpenOptions struct {
	ReadOnly bool   // nothing on the device changes; a dirty store is recovered in memory
	Type     string // the bstype that is expected; "" accepts any
	Progress func(done, total int64)
}

// Store is an open blobstore. All its methods may be called from any goroutine.
type Store struct{}

func Format(dev *bdev.Device, o FormatOptions) error       { panic("draft") }
func Open(dev *bdev.Device, o OpenOptions) (*Store, error) { panic("draft") }
func (s *Store) Close() error                              { panic("draft") } // checkpoint, masks, clean superblock; the device stays open
func (s *Store) Device() *bdev.Device                      { panic("draft") }
func (s *Store) Info() Info                                { panic("draft") }
func (s *Store) BlockSize() int                            { panic("draft") } // unit of data I/O: 4096 or the device's block if larger
func (s *Store) ClusterSize() int                          { panic("draft") }
func (s *Store) FreeClusters() int64                       { panic("draft") } // allocatable now or once pending frees are durable
func (s *Store) IDs() []BlobID                             { panic("draft") } // ascending, journal included
func (s *Store) Stat(id BlobID) (BlobInfo, error)          { panic("draft") } // also of a blob that is refused
func (s *Store) Blob(id BlobID) (*Blob, error)             { panic("draft") } // ErrNotFound, ErrUnsupportedBlob, ErrCorrupt
func (s *Store) Begin() *Tx                                { panic("draft") }
func (s *Store) Err() error                                { panic("draft") } // why the store has become read-only, if it has

type Info struct{}     // sizes, counts, bstype, version, clean, uuid, journal position, features, whether recovered
type BlobInfo struct{} // id, clusters, allocated, flags, xattrs, internal xattrs, extents, md pages, why it is refused

// Tx is one metadata transaction over any number of blobs: all of it or none, in memory and across a crash. Not for
// concurrent use. Nothing is visible before Commit.
type Tx struct{}

func (tx *Tx) Create() BlobID                                { panic("draft") } // reserves the id; the blob exists after Commit
func (tx *Tx) Delete(id BlobID)                              { panic("draft") }
func (tx *Tx) Resize(id BlobID, clusters int64)              { panic("draft") }
func (tx *Tx) SetXattr(id BlobID, name string, value []byte) { panic("draft") }
func (tx *Tx) RemoveXattr(id BlobID, name string)            { panic("draft") }

// SetXattrVouched is SetXattr with a voucher: until the record is confirmed, recovery applies this one change only
// if the vouched bytes are on the device. At most one per transaction.
func (tx *Tx) SetXattrVouched(id BlobID, name string, value []byte, v Vouch) { panic("draft") }

// Commit validates the whole transaction, allocates, applies it in memory and queues its record. It does no I/O on
// the caller unless the journal is full. On an error (ErrNoSpace, ErrNotFound, ErrExist …) nothing has changed.
func (tx *Tx) Commit() (LSN, error) { panic("draft") }

// Abort gives up a transaction that is not committed.
func (tx *Tx) Abort() { panic("draft") }

// Vouch says which bytes of the blob must be on the device: their CRC-32C.
type Vouch struct {
	Offset, Length int64
	CRC            uint32
}

// Sync returns once every transaction up to lsn is durable. Costs nothing if it already is.
func (s *Store) Sync(lsn LSN) error { panic("draft") }

// LastLSN is the newest committed transaction; DurableLSN the newest known to survive a power cut.
func (s *Store) LastLSN() LSN    { panic("draft") }
func (s *Store) DurableLSN() LSN { panic("draft") }

// SyncData makes the writes durable that ios carry (they may still be in flight) and every write that completed before
// the call: it waits for ios and shares one device flush with all who ask at the same time. No journal append.
func (s *Store) SyncData(ios ...*IO) error { panic("draft") }

// SyncVouched makes durable transaction lsn (committed with SetXattrVouched) together with the data writes ios that its
// voucher covers: the journal append and the data go out at once, under one flush. If a data write fails the store
// itself sets the xattr back and the error is returned.
func (s *Store) SyncVouched(lsn LSN, ios ...*IO) error { panic("draft") }

// Confirm returns once the confirmation of transaction lsn is itself durable, so that the bytes it vouched for may be
// overwritten (design section 8). Free when it already is.
func (s *Store) Confirm(lsn LSN) error { panic("draft") }

// Blob is an open blob. Data I/O is in multiples of Store.BlockSize at such offsets, into buffers that should come from
// internal/dmabuf (others are bounced). Safe for any goroutine; extents may change under Commit while I/O runs.
type Blob struct{}

func (b *Blob) ID() BlobID                             { panic("draft") }
func (b *Blob) Clusters() int64                        { panic("draft") }
func (b *Blob) Size() int64                            { panic("draft") } // clusters in bytes
func (b *Blob) Xattr(name string) ([]byte, bool)       { panic("draft") }
func (b *Blob) Xattrs() map[string][]byte              { panic("draft") }
func (b *Blob) Read(p []byte, off int64) error         { panic("draft") }
func (b *Blob) Write(p []byte, off int64) error        { panic("draft") }
func (b *Blob) WriteZeroes(off, n int64) error         { panic("draft") }
func (b *Blob) Unmap(off, n int64) error               { panic("draft") }
func (b *Blob) StartRead(io *IO, p []byte, off int64)  { panic("draft") } // p belongs to the device until io.Wait
func (b *Blob) StartWrite(io *IO, p []byte, off int64) { panic("draft") }

// IO is one asynchronous transfer: reusable, pooled by its user. An IO that nobody waits for still makes progress.
type IO struct{}

func (io *IO) Wait() error { panic("draft") } // any number of times, any goroutine; retried within a bound before it reports an error
func (io *IO) Done() bool  { panic("draft") }
