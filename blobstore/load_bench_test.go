package blobstore

import (
	"fmt"
	"testing"
)

// BenchmarkLoad loads the metadata of 10,000 small blobs, as a store of that many files has them.
func BenchmarkLoad(b *testing.B) {
	const blobs = 10000
	super, err := layoutSuper(4<<30, 128<<10, 0, 512, "BENCH")
	if err != nil {
		b.Fatal(err)
	}
	img := make([]byte, super.md.end()*pageSize)
	for i := range blobs {
		s := &blobState{id: blobIDOf(pageIndex(i)), extents: []extent{{clusterIndex(super.mdClusters() + 2*i), 2}}}
		s.xattrs.set(fmt.Sprintf("blobfs.link/%016x/%06d.sst", 0x100000001, i), []byte{1})
		s.xattrs.set("blobfs.length", make([]byte, 16))
		s.xattrs.set("blobfs.node", make([]byte, 16))
		pages, err := s.encode(nil)
		if err != nil {
			b.Fatal(err)
		}
		copy(img[super.pageOffset(pageIndex(i)):], pages[0].data)
	}
	dev := &ramDevice{data: img}
	b.ReportAllocs()
	for b.Loop() {
		m, err := loadMetadata(dev, &super, loadOptions{highWater: blobs})
		if err != nil || m.blobs.len() != blobs || len(m.bad) > 0 {
			b.Fatal(err, m.blobs.len(), m.bad)
		}
	}
}
