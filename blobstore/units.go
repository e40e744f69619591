package blobstore

import (
	"fmt"
	"strconv"
)

// The on-disk format counts in four units. Each has its own type or suffix, and conversions are the named functions
// below and in layout.go, so that no number changes its unit silently.
//
//	byte     offset from the start of the device, or within a blob
//	page     metadata page of 4096 bytes; a pageIndex counts from the start of the metadata region
//	cluster  unit of allocation; a clusterIndex counts from the start of the device, a logical cluster from the
//	         start of a blob
//	blob id  index of the blob's root page, with bit 32 set

const (
	// pageSize is the size of a metadata page in bytes. SPDK v25 can format with larger ones; such a store is refused.
	pageSize = 4096
	// minClusterSize is the smallest cluster in bytes.
	minClusterSize = pageSize
	// maxClusterSize is the largest cluster in bytes that this package accepts.
	maxClusterSize = 1 << 30
	// blobIDBit is set in every valid blob id.
	blobIDBit = 1 << 32
	// noBlob is how "no super blob" is stored.
	noBlob BlobID = 0xffffffffffffffff
)

// pageIndex is the index of a metadata page in the metadata region.
type pageIndex uint32

// noPage ends a chain of metadata pages.
const noPage pageIndex = 0xffffffff

// clusterIndex is the index of a cluster of the device. Cluster 0 holds the superblock, so 0 means "not allocated"
// wherever a blob's cluster is named.
type clusterIndex uint32

// blobIDOf is the id of the blob whose root page is p.
func blobIDOf(p pageIndex) BlobID { return blobIDBit | BlobID(p) }

// page is the index of the blob's root page.
func (id BlobID) page() pageIndex { return pageIndex(id) }

// valid reports whether id has the form of a blob id.
func (id BlobID) valid() bool { return id>>32 == 1 && pageIndex(id) != noPage }

// String is the id in the form SPDK prints it, for instance 0x100000002.
func (id BlobID) String() string { return "0x" + strconv.FormatUint(uint64(id), 16) }

// MarshalText makes an id the text of String in JSON.
func (id BlobID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseBlobID reads an id as String prints it, or in decimal.
func ParseBlobID(s string) (BlobID, error) {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || !BlobID(n).valid() {
		return 0, fmt.Errorf("%q is not a blob id: want one like %v", s, blobIDOf(0))
	}
	return BlobID(n), nil
}

// ceilDiv is a/b rounded up.
func ceilDiv[T ~int | ~int64 | ~uint32 | ~uint64](a, b T) T {
	q := a / b
	if a%b != 0 {
		q++
	}
	return q
}
