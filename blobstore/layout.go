package blobstore

// Conversions between pages, clusters and bytes for one store's superblock.

// pageOffset is the byte offset on the device of page p of the metadata region.
func (s *superblock) pageOffset(p pageIndex) int64 {
	return (int64(s.md.start) + int64(p)) * pageSize
}

// clusterOffset is the byte offset on the device of cluster c.
func (s *superblock) clusterOffset(c clusterIndex) int64 { return int64(c) * int64(s.clusterSize) }

// clusters is the number of whole clusters of the store, those of the metadata included.
func (s *superblock) clusters() int { return int(s.size / uint64(s.clusterSize)) }

// mdPages is the number of pages of the metadata region.
func (s *superblock) mdPages() int { return int(s.md.length) }

// mdClusters is the number of clusters that superblock, masks and metadata region take at the start of the device.
func (s *superblock) mdClusters() int {
	return int(ceilDiv(s.md.end()*pageSize, uint64(s.clusterSize)))
}
