package blobstore

import "fmt"

// Conversions between pages, clusters and bytes for one store's superblock, and the checks that make them safe.

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

// offset is the byte offset of a region on the device, bytes its length.
func (r region) offset() int64 { return int64(r.start) * pageSize }
func (r region) bytes() int64  { return int64(r.length) * pageSize }

// layoutSuper is the superblock of a new store as SPDK would lay it out: superblock, used-page mask, used-cluster mask
// (with room to grow to one bit per metadata page), used-blob-id mask, metadata region. It is not clean, and its
// super blob is none. size is the device's in bytes; mdPages 0 means one page per cluster.
func layoutSuper(size int64, clusterSize, mdPages, ioUnit int, bstype string) (superblock, error) {
	if len(bstype) > 16 {
		return superblock{}, fmt.Errorf("%w: type %q is longer than 16 bytes", ErrInvalid, bstype)
	}
	if clusterSize < minClusterSize || clusterSize > maxClusterSize || clusterSize%pageSize != 0 {
		return superblock{}, fmt.Errorf("%w: cluster size %d: want a multiple of %d up to %d", ErrInvalid, clusterSize, pageSize, maxClusterSize)
	}
	clusters := int(size / int64(clusterSize))
	if mdPages == 0 {
		mdPages = clusters
	}
	s := superblock{
		version: versionSPDK, superBlob: noBlob, clusterSize: uint32(clusterSize),
		size: uint64(size), ioUnitSize: uint32(ioUnit), mdPageSize: pageSize,
	}
	copy(s.bstype[:], bstype)
	s.layoutRegions(clusters, mdPages)
	s.crcCandidate = s.state()
	if err := s.validate(size); err != nil {
		return superblock{}, err
	}
	if s.mdClusters() >= clusters {
		return superblock{}, fmt.Errorf("%w: metadata takes %d of %d clusters", ErrNoSpace, s.mdClusters(), clusters)
	}
	return s, nil
}

func (s *superblock) layoutRegions(clusters, mdPages int) {
	s.pageMask = region{1, maskPagesFor(mdPages)}
	s.clusterMask = region{uint32(s.pageMask.end()), maskPagesFor(clusters)}
	reserved := max(s.clusterMask.length, maskPagesFor(mdPages))
	s.blobIDMask = region{s.clusterMask.start + reserved, maskPagesFor(mdPages)}
	s.md = region{uint32(s.blobIDMask.end()), uint32(mdPages)}
}

// normalise fills in what older versions did not store.
func (s *superblock) normalise(deviceSize int64) {
	if s.size == 0 && s.version < versionSPDK {
		s.size = uint64(deviceSize)
	}
	if s.ioUnitSize == 0 {
		s.ioUnitSize = pageSize
	}
	if s.mdPageSize == 0 {
		s.mdPageSize = pageSize
	}
}

// validate checks every field of a superblock against the others and the device's size in bytes. Its errors are
// ErrUnsupported, ErrTruncated and ErrCorrupt with the field's offset.
func (s *superblock) validate(deviceSize int64) error {
	if s.mdPageSize != 0 && s.mdPageSize != pageSize {
		return fmt.Errorf("%w: metadata pages of %d bytes, this program reads %d", ErrUnsupported, s.mdPageSize, pageSize)
	}
	if err := s.validateSizes(); err != nil {
		return err
	}
	if s.size > uint64(deviceSize) {
		return fmt.Errorf("%w: the superblock at offset 0 expects a device of %d bytes, this one has %d", ErrTruncated, s.size, deviceSize)
	}
	return s.validateRegions()
}

func (s *superblock) validateSizes() error {
	c := s.clusterSize
	switch {
	case c < minClusterSize || c > maxClusterSize || c%pageSize != 0:
		return corruptf(superOffClusterSize, "superblock: cluster size", fmt.Sprintf("a multiple of %d", pageSize), fmt.Sprint(c))
	case s.ioUnitSize != 0 && (s.ioUnitSize&(s.ioUnitSize-1) != 0 || s.ioUnitSize < 512 || c%s.ioUnitSize != 0):
		return corruptf(superOffIOUnit, "superblock: io unit size", "a power of two that divides the cluster size", fmt.Sprint(s.ioUnitSize))
	case s.clean > 1:
		return corruptf(superOffClean, "superblock: clean", "0 or 1", fmt.Sprint(s.clean))
	case s.size/uint64(c) == 0 || s.size/uint64(c) > 1<<32-1:
		return corruptf(superOffDeviceSize, "superblock: size", "1 to 2^32-1 clusters", fmt.Sprintf("%d bytes", s.size))
	case s.size > 1<<62:
		return corruptf(superOffDeviceSize, "superblock: size", "at most 2^62", fmt.Sprint(s.size))
	}
	return nil
}

// validateRegions checks that the regions follow each other, hold their bits and lie within the store.
func (s *superblock) validateRegions() error {
	regions := []struct {
		name   string
		offset int
		r      region
		bits   int
	}{
		{"used-page mask", superOffPageMask, s.pageMask, s.mdPages()},
		{"used-cluster mask", superOffClusterMask, s.clusterMask, s.clusters()},
		{"used-blob-id mask", superOffBlobIDMask, s.blobIDMask, s.mdPages()},
	}
	for i := range regions {
		g := &regions[i]
		if g.r.length == 0 && g.offset == superOffBlobIDMask {
			continue // version 1 has none
		}
		if g.r.start == 0 || g.r.end() > uint64(s.md.start) {
			return corruptf(g.offset, "superblock: "+g.name, fmt.Sprintf("pages 1 to %d", s.md.start), g.r.String())
		}
		if g.r.length < maskPagesFor(g.bits) {
			return corruptf(g.offset, "superblock: "+g.name, fmt.Sprintf("%d pages", maskPagesFor(g.bits)), g.r.String())
		}
		for j := range regions[:i] {
			if o := regions[j].r; o.length > 0 && g.r.overlaps(o) {
				return corruptf(g.offset, "superblock: "+g.name, "a region of its own", g.r.String()+" over "+o.String())
			}
		}
	}
	if s.md.start == 0 || s.md.length == 0 || s.md.end()*pageSize > s.size {
		return corruptf(superOffMD, "superblock: metadata region", fmt.Sprintf("pages within %d bytes", s.size), s.md.String())
	}
	return nil
}

func (r region) String() string { return fmt.Sprintf("%d pages from %d", r.length, r.start) }

func (r region) overlaps(o region) bool {
	return uint64(r.start) < o.end() && uint64(o.start) < r.end()
}
