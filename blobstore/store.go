package blobstore

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
)

// BlobID names a blob: the index of its first metadata page in the low 32 bits, bit 32 set (SPDK's spdk_blob_id).
type BlobID uint64

// LSN is the sequence number of a metadata transaction. Transactions apply and become durable in LSN order.
type LSN uint64

// BlockSize is the unit of data I/O in bytes.
const BlockSize = 4096

// Store is an open blobstore. All its methods may be called from any goroutine.
type Store struct {
	dev       *bdev.Device
	super     superblock // as it is on the device now
	found     superblock // as it was when the store was opened
	readOnly  bool
	recovered bool // the journal was replayed, or SPDK's masks were rebuilt
	replayed  int  // transactions that redo applied
	mem       *dmabuf.Pool
	j         *journal // nil if read-only
	journalID BlobID   // 0 if the store has no journal

	err     atomic.Pointer[error] // why nothing can be changed any more
	durable atomic.Uint64         // newest LSN that survives a power cut

	flushFailures uint64 // of the device when the store was opened

	checkpointing sync.Mutex // held by the one checkpoint; mu and journal.writing are taken inside it
	wake          chan struct{}
	quit          chan struct{}
	worker        sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // of mu: room in the journal, a voucher's data is done, a checkpoint or a punch is done, a failure
	closed  bool

	blobs blobTable[Blob]
	bad   map[BlobID]error // blobs that cannot be decoded

	pages     bitmap // md pages in use: roots, also of transactions under way, and chains as of the newest checkpoint
	owed      int    // md pages that blobs will need at the next checkpoint beyond those they have
	highWater uint32 // md pages from here on are unused on the device

	space space

	dirty          map[BlobID]*dirtyBlob // what the next checkpoint writes
	dirtyCost      int                   // md pages of it, at most
	inflightCost   int                   // the same of the checkpoint under way
	wantCheckpoint bool
	starved        int // transactions that wait for room

	vouchers         []*voucher // unconfirmed, in LSN order
	toVerify         vouchedBytes
	setBackLSN       LSN    // newest transaction that took back, or covered up, what failed data writes were to fill
	confirmed        LSN    // vouchers up to here have their bytes on the device
	durableConfirmed LSN    // and that itself is durable
	durableSequence  uint64 // newest frame that is durable
	writtenSequence  uint64 // newest frame that has been written
}

// Device is the device the store is on. The store does not close it.
func (s *Store) Device() *bdev.Device { return s.dev }

// BlockSize is the unit of data I/O in bytes.
func (s *Store) BlockSize() int { return BlockSize }

// ClusterSize is the unit of allocation in bytes.
func (s *Store) ClusterSize() int { return int(s.super.clusterSize) }

// ReadOnly reports whether the store was opened for reading only.
func (s *Store) ReadOnly() bool { return s.readOnly }

// FreeClusters is the number of clusters that can be allocated now or once pending frees are durable.
func (s *Store) FreeClusters() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.space.free()
}

// Info describes a store.
type Info struct {
	Device           string `json:"device"`
	UUID             string `json:"uuid,omitempty"`      // of the journal; "" for a store that has none
	Version          uint32 `json:"version"`             // of the layout, 1 to 3; Clean says whether a writer left it open
	Clean            bool   `json:"clean"`               // as it was found
	Type             string `json:"type"`                // bstype
	SuperBlob        BlobID `json:"super_blob,omitzero"` // 0 if there is none
	Size             int64  `json:"size"`                // bytes that belong to the store
	ClusterSize      int    `json:"cluster_size"`        // bytes
	Clusters         int64  `json:"clusters"`
	FreeClusters     int64  `json:"free_clusters"`
	MetadataClusters int64  `json:"metadata_clusters"` // superblock, masks and metadata region
	IOUnit           int    `json:"io_unit"`           // bytes
	MDStart          int64  `json:"md_start"`          // first page of the metadata region
	MDPages          int64  `json:"md_pages"`
	UsedMDPages      int64  `json:"used_md_pages"`
	Blobs            int    `json:"blobs"`
	BadBlobs         int    `json:"bad_blobs"`
	Recovered        bool   `json:"recovered"` // the store was not clean and has been recovered, in memory if read-only
	Replayed         int    `json:"replayed"`  // transactions applied from the journal

	Journal       BlobID `json:"journal,omitzero"`
	JournalSize   int64  `json:"journal_size,omitempty"` // bytes
	JournalUsed   int64  `json:"journal_used"`           // bytes of the ring that hold frames
	LastLSN       LSN    `json:"last_lsn"`
	DurableLSN    LSN    `json:"durable_lsn"`
	CheckpointLSN LSN    `json:"checkpoint_lsn"`
}

// Info describes the store as it is now.
func (s *Store) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := Info{
		Device: s.dev.Name(), Version: layoutVersion(s.found.version), Clean: s.found.clean == 1 && !s.found.torn, Type: s.super.typeName(),
		Size: int64(s.super.size), ClusterSize: s.ClusterSize(), Clusters: int64(s.super.clusters()),
		FreeClusters: s.space.free(), MetadataClusters: int64(s.super.mdClusters()), IOUnit: int(s.super.ioUnitSize),
		MDStart: int64(s.super.md.start), MDPages: int64(s.super.mdPages()), UsedMDPages: int64(s.pages.count()),
		Blobs: s.blobs.len(), BadBlobs: len(s.bad), Recovered: s.recovered, Replayed: s.replayed,
		Journal: s.journalID, LastLSN: s.lastLocked(), DurableLSN: s.DurableLSN(),
	}
	if s.super.superBlob != noBlob {
		i.SuperBlob = s.super.superBlob
	}
	if b := s.blobs.get(s.journalID); b != nil {
		i.JournalSize = b.st.clusters() * int64(s.super.clusterSize)
		if tag, ok, _ := journalTagOf(b.st); ok {
			i.UUID = tag.uuid.String()
		}
	}
	if s.j != nil {
		i.JournalUsed = int64(s.j.position-s.j.start) * journalBlock
		i.CheckpointLSN = s.j.header.checkpoint
	}
	return i
}

// IDs lists every blob that exists, the journal and those that are refused or damaged included, ascending.
func (s *Store) IDs() []BlobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]BlobID, 0, s.blobs.len()+len(s.bad))
	for id := range s.blobs.all() {
		ids = append(ids, id)
	}
	for id := range s.bad {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Extent is a run of a blob's clusters.
type Extent struct {
	Logical  int64 `json:"logical"`  // first cluster in the blob
	Physical int64 `json:"physical"` // first cluster on the device, 0: not allocated
	Count    int64 `json:"count"`
}

// BlobInfo describes a blob.
type BlobInfo struct {
	ID        BlobID            `json:"id"`
	Clusters  int64             `json:"clusters"`
	Allocated int64             `json:"allocated"` // clusters the blob owns
	Flags     [3]uint64         `json:"flags"`     // invalid, data_ro, md_ro
	Xattrs    map[string][]byte `json:"xattrs"`
	Internal  map[string][]byte `json:"internal"` // SPDK's internal xattrs
	Extents   []Extent          `json:"extents"`
	Pages     []int64           `json:"pages"` // md pages, the root first, as of the newest checkpoint
	Refused   error             `json:"-"`     // why the blob cannot be opened, if so
}

// Stat describes a blob, also one that is refused. For a blob that cannot be decoded only ID and Refused are set.
func (s *Store) Stat(id BlobID) (BlobInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err, ok := s.bad[id]; ok {
		return BlobInfo{ID: id, Refused: err}, nil
	}
	b := s.blobs.get(id)
	if b == nil {
		return BlobInfo{}, fmt.Errorf("%s: blob %v: %w", s.dev.Name(), id, ErrNotFound)
	}
	return infoOf(b.st), nil
}

func infoOf(st *blobState) BlobInfo {
	i := BlobInfo{
		ID: st.id, Clusters: st.clusters(), Allocated: st.allocatedClusters(),
		Flags:  [3]uint64{st.flags.invalid, st.flags.dataRO, st.flags.mdRO},
		Xattrs: st.xattrs.asMap(), Internal: st.internal.asMap(), Refused: st.refused,
	}
	at := int64(0)
	for _, e := range st.extents {
		i.Extents = append(i.Extents, Extent{Logical: at, Physical: int64(e.start), Count: int64(e.count)})
		at += int64(e.count)
	}
	for p := range st.allPages() {
		i.Pages = append(i.Pages, int64(p))
	}
	return i
}

// asMap copies the attributes.
func (l xattrList) asMap() map[string][]byte {
	m := make(map[string][]byte, len(l))
	for _, x := range l {
		m[x.name] = append([]byte(nil), x.value...)
	}
	return m
}

// Blob opens a blob. There is one *Blob for each id as long as the blob exists. Its errors are ErrNotFound,
// ErrUnsupportedBlob and ErrCorrupt.
func (s *Store) Blob(id BlobID) (*Blob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	b, err := s.lookup(id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.dev.Name(), err)
	}
	return b, nil
}

// lookup is Blob without the device's name. The caller holds mu.
func (s *Store) lookup(id BlobID) (*Blob, error) {
	if err, ok := s.bad[id]; ok {
		return nil, fmt.Errorf("blob %v: %w", id, err)
	}
	b := s.blobs.get(id)
	if b == nil {
		return nil, fmt.Errorf("blob %v: %w", id, ErrNotFound)
	}
	if b.st.refused != nil {
		return nil, fmt.Errorf("blob %v: %w", id, b.st.refused)
	}
	return b, nil
}

// Err is why the store has become read-only, nil as long as it has not.
func (s *Store) Err() error {
	if p := s.err.Load(); p != nil {
		return *p
	}
	return nil
}

// fail makes the store read-only for good. The caller holds mu.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("%w after a failure: %w", ErrReadOnly, err)
	s.err.CompareAndSwap(nil, &err)
	s.changed.Broadcast()
	return s.Err()
}

// writable is the error of a change now, if any. The caller holds mu.
func (s *Store) writable() error {
	switch {
	case s.closed:
		return ErrClosed
	case s.readOnly:
		return fmt.Errorf("%s: %w", s.dev.Name(), ErrReadOnly)
	}
	return s.Err()
}

// LastLSN is the newest committed transaction.
func (s *Store) LastLSN() LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastLocked()
}

func (s *Store) lastLocked() LSN {
	if s.j == nil {
		return LSN(s.durable.Load())
	}
	return s.j.next - 1
}

// DurableLSN is the newest transaction known to survive a power cut.
func (s *Store) DurableLSN() LSN { return LSN(s.durable.Load()) }
