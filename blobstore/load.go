package blobstore

// metadata is everything a store's metadata pages say, checked blob by blob. It is made by loadMetadata.
type metadata struct {
	super        superblock
	blobs        map[BlobID]*blobState // decoded ones, also those that are refused
	bad          []badBlob             // blobs that cannot be decoded
	usedPages    bitmap                // metadata pages in use, rebuilt from the blobs; md region, in pages
	usedClusters bitmap                // clusters in use, rebuilt from the blobs; whole store, in clusters
}

// badBlob is a root page, or what was one, whose blob cannot be read.
type badBlob struct {
	id  BlobID
	err error // an ErrCorrupt or the device's error
}
