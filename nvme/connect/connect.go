// Package connect turns the name of an NVMe controller into a transport to it. It is the one place that knows them all.
//
//	0000:01:00.0             a controller on PCI, bound to vfio-pci
//	vfio-user:/path/to/dir   a controller that another process serves there, or the path to its socket
package connect

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/vfio"
	"github.com/blobkv/blobkv/nvme/vfiouser"
)

// ErrName is returned for names that cannot be understood.
var ErrName = errors.New("bad name of an NVMe controller")

const socketPrefix = "vfio-user:"

// Target is a parsed name.
type Target struct {
	PCI    string // address with domain, "" for the other kind
	Socket string // folder or socket, absolute
}

// Parse reads a name. Different names of one controller give the same Target, as far as the text tells. An error leaves the name to the
// caller, whose user may have written more than that.
func Parse(name string) (Target, error) {
	if path, ok := strings.CutPrefix(name, socketPrefix); ok {
		if path == "" {
			return Target{}, fmt.Errorf("no path behind %q: %w", socketPrefix, ErrName)
		}
		absolute, err := filepath.Abs(path)
		if err != nil {
			return Target{}, err
		}
		return Target{Socket: absolute}, nil
	}
	address, err := vfio.ParseAddress(name)
	if err != nil {
		return Target{}, fmt.Errorf("neither a PCI address (0000:01:00.0, see blobcli nvme list) nor %s and a folder: %w", socketPrefix, ErrName)
	}
	return Target{PCI: address.String()}, nil
}

// String is the canonical name.
func (t Target) String() string {
	if t.Socket != "" {
		return socketPrefix + t.Socket
	}
	return t.PCI
}

// Open opens the transport. Nothing is written to the controller. The context ends the wait for a server, and means nothing
// afterwards.
func (t Target) Open(ctx context.Context) (nvme.Transport, error) {
	if t.Socket == "" {
		return opened(vfio.Open(t.PCI, vfio.Options{}))
	}
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait *= 2 {
		c, err := vfiouser.Open(t.Socket, vfiouser.Options{Context: ctx})
		if !errors.Is(err, vfiouser.ErrInUse) || time.Now().Add(wait).After(deadline) || ctx.Err() != nil {
			return opened(c, err)
		}
		time.Sleep(wait)
	}
}

// patience is how long a server is asked again that says it has a client: one that has just gone, it may not know of yet.
const patience = time.Second

// opened keeps a nil pointer from becoming a non-nil interface.
func opened[T nvme.Transport](t T, err error) (nvme.Transport, error) {
	if err != nil {
		return nil, err
	}
	return t, nil
}
