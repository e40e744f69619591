package open

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/aiobdev"
	"github.com/blobkv/blobkv/bdev/filebdev"
	"github.com/blobkv/blobkv/bdev/mallocbdev"
	"github.com/blobkv/blobkv/bdev/nvmebdev"
)

// DefaultImageSize is the size of a new image whose name gives none, in bytes. Images are sparse: it bounds what they
// may grow to and takes no room by itself.
const DefaultImageSize = 64 << 30

// Options of Device. The zero value opens what exists for reading and writing.
type Options struct {
	ReadOnly bool        // change nothing; other readers are admitted
	Create   bool        // make an image file when there is none
	Size     int64       // bytes; used when the name gives no size
	Policy   bdev.Policy // used when the name gives none
	Channels int         // used when the name gives none

	Context context.Context // ends the wait for a device that does not answer, nil: never; it means nothing afterwards
}

// Device opens the device of a name. A new image file is made only with Create, for its owner alone (0600), sparse, of
// the size given or DefaultImageSize; Device.Fresh tells whether that happened. An existing image that is smaller than
// the size given grows to it; a larger one is left alone.
//
// Errors: ErrName, bdev.ErrNotExist, bdev.ErrInUse (naming the process where the system tells), bdev.ErrInvalid for a
// size or block size that does not fit, bdev.ErrUnsupported for a backend this system lacks, and what the system says,
// such as fs.ErrPermission.
func Device(name string, o Options) (*bdev.Device, error) {
	s, err := Parse(name)
	if err != nil {
		return nil, err
	}
	s.merge(o)
	b, err := openBackend(s, o)
	if err != nil {
		return nil, err // it names the device
	}
	d, err := bdev.New(s.name(), b, bdev.Options{Policy: *s.Policy, Channels: s.Channels, Fresh: b.Fresh()})
	if n, ok := b.(*nvmebdev.Backend); ok && err == nil {
		n.OnResize(d.Resized)
	}
	return d, err
}

// merge takes from the options what the name does not say.
func (s *Spec) merge(o Options) {
	if s.Size == 0 {
		s.Size = o.Size
	}
	if s.Channels == 0 {
		s.Channels = o.Channels
	}
	if s.Policy == nil {
		s.Policy = &o.Policy
	}
}

// name is what errors and tools print, and what opens the same device again: without what only this opening wants.
func (s Spec) name() string {
	n := Spec{Scheme: s.Scheme, Path: s.Path, Block: s.Block, Controller: s.Controller, Namespace: s.Namespace}
	if s.InMemory() {
		n.Size = s.Size
	}
	return n.String()
}

// backend is a bdev.Backend that knows whether it was made just now.
type backend interface {
	bdev.Backend
	Fresh() bool
}

func openBackend(s Spec, o Options) (backend, error) {
	switch s.Scheme {
	case schemeMalloc:
		return asBackend(mallocbdev.New(mallocbdev.Config{Size: s.Size, BlockSize: s.Block}))
	case schemeNVMe:
		return asBackend(nvmebdev.Open(s.Controller, nvmeConfig(s, o)))
	case schemeSim:
		return asBackend(nvmebdev.NewSim(nvmebdev.SimConfig{Size: s.Size, BlockSize: s.Block, Config: nvmeConfig(s, o)}))
	case schemeAIO:
		c := aiobdev.Options{ReadOnly: o.ReadOnly, Create: o.Create, Size: imageSize(s, o), BlockSize: s.Block}
		return asBackend(aiobdev.Open(s.Path, c))
	default:
		c := filebdev.Config{ReadOnly: o.ReadOnly, Create: o.Create, Size: imageSize(s, o), BlockSize: s.Block}
		return asBackend(filebdev.Open(s.Path, c))
	}
}

func nvmeConfig(s Spec, o Options) nvmebdev.Config {
	return nvmebdev.Config{Context: o.Context, Namespace: s.Namespace, ReadOnly: o.ReadOnly, Queues: s.Queues, Policy: *s.Policy}
}

// asBackend keeps a nil pointer from becoming a non-nil interface.
func asBackend[B backend](b B, err error) (backend, error) {
	if err != nil {
		return nil, err
	}
	return b, nil
}

// imageSize is the size a missing image is made with. An existing one keeps its own unless a size was given.
func imageSize(s Spec, o Options) int64 {
	if s.Size != 0 || !o.Create {
		return s.Size
	}
	if _, err := os.Stat(s.Path); !errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	return DefaultImageSize
}
