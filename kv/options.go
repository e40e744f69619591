package kv

import (
	"fmt"
)

// Defaults of Options.
const (
	DefaultCacheSize           = 32 << 20 // bytes
	DefaultCompressedCacheSize = 96 << 20 // bytes
	DefaultMemTableSize        = 16 << 20 // bytes
)

// MinSize is the smallest device that a store can be written on, in bytes.
const MinSize = 16 << 20

// minMemTableSize is what small devices get, in bytes. The engine needs room for its bookkeeping in each.
const minMemTableSize = 256 << 10

// memTablesPerDevice bounds the default memtable to a fraction of the device, so that the reserve for a full device
// stays a small part of it.
const memTablesPerDevice = 256

// Options say how a store is opened. The zero value, or nil, opens an existing store for reading and writing with the
// defaults.
type Options struct {
	// CreateIfMissing makes the image file and the store if they are not there. Without it a missing store is
	// ErrNotStore.
	CreateIfMissing bool

	// ErrorIfExists refuses a device that holds a store already, with ErrExists.
	ErrorIfExists bool

	// ReadOnly changes nothing on the device, not even to recover it: recovery happens in memory. Writes answer
	// ErrReadOnly. It goes with neither CreateIfMissing nor ErrorIfExists. Any number of processes may read at a time.
	// Where a log is damaged that other opens refuse, what was committed after the damage is missing and Metrics.CorruptReads
	// is not 0.
	ReadOnly bool

	// Size of an image file that is created, in bytes, if the device name does not give one. 0: 64 GiB, sparse. A store
	// keeps the size that it was made with, also if its image grows.
	Size int64

	// CacheSize bounds the memory for uncompressed blocks, in bytes: what is read again and again is found here ready for
	// use. 0: DefaultCacheSize. Negative: no cache.
	CacheSize int64

	// CompressedCacheSize bounds the memory for blocks as they lie on the device, in bytes. It is what a page cache would
	// be under CacheSize: data that is larger than memory is read from the device less often the more of the memory is
	// given to this one, since compressed blocks take less of it. 0: DefaultCompressedCacheSize. Negative: no cache.
	CompressedCacheSize int64

	// MemTableSize is the size of one memtable, in bytes; up to four are in memory; at most 1 GiB. 0: DefaultMemTableSize, or less
	// on a device under 4 GiB, or on a sparse image whose host has less room than that.
	MemTableSize int64

	// Compression of new tables. Each block says how it is compressed, so it can change from one Open to the next.
	Compression Compression

	// Logger hears what the engine does in the background. Nil: nobody; errors are still counted in Metrics.
	Logger Logger
}

// Logger receives messages of the engine. Its methods are called from many goroutines and must not call the store.
type Logger interface {
	Infof(format string, args ...any)
	Errorf(format string, args ...any)
}

// Compression is an algorithm for table blocks.
type Compression uint8

// The compressions. Snappy is fast enough to be on by default; Zstd is smaller and slower.
const (
	Snappy Compression = iota
	NoCompression
	Zstd
	numCompressions
)

var compressionNames = [numCompressions]string{"snappy", "none", "zstd"}

func (c Compression) String() string {
	if c < numCompressions {
		return compressionNames[c]
	}
	return fmt.Sprintf("compression(%d)", uint8(c))
}

// ParseCompression is the inverse of Compression.String.
func ParseCompression(name string) (Compression, error) {
	for i, n := range compressionNames {
		if n == name {
			return Compression(i), nil
		}
	}
	return 0, fmt.Errorf("kv: unknown compression %q; known are %v", name, compressionNames)
}

// withDefaults returns a copy with every default filled in but the memtable's, which depends on the device.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.CacheSize = sizeOrDefault(c.CacheSize, DefaultCacheSize)
	c.CompressedCacheSize = sizeOrDefault(c.CompressedCacheSize, DefaultCompressedCacheSize)
	return c
}

// sizeOrDefault resolves an option where 0 is the default and less is none.
func sizeOrDefault(size, byDefault int64) int64 {
	if size == 0 {
		return byDefault
	}
	return max(0, size)
}

func (o *Options) validate() error {
	switch {
	case o.Compression >= numCompressions:
		return fmt.Errorf("%w: unknown %v", ErrOptions, o.Compression)
	case o.Size < 0:
		return fmt.Errorf("%w: Size %d is negative", ErrOptions, o.Size)
	case o.MemTableSize < 0 || o.MemTableSize > 1<<30:
		return fmt.Errorf("%w: MemTableSize %d is not within 0 and 1 GiB", ErrOptions, o.MemTableSize)
	case o.ReadOnly && (o.CreateIfMissing || o.ErrorIfExists):
		return fmt.Errorf("%w: ReadOnly goes with neither CreateIfMissing nor ErrorIfExists", ErrOptions)
	}
	return nil
}

// memTableSize is the memtable for a device of the given size; 0 where the size is unknown.
func (o *Options) memTableSize(device int64) int64 {
	switch {
	case o.MemTableSize > 0:
		return max(o.MemTableSize, minMemTableSize)
	case device > 0:
		return min(DefaultMemTableSize, max(minMemTableSize, device/memTablesPerDevice))
	default:
		return DefaultMemTableSize
	}
}
