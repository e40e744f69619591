package nvmebdev

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/connect"
)

// owners are the controllers of this process, by their canonical names.
var owners struct {
	sync.Mutex
	open map[string]*owner
}

// owner owns a controller for all backends on it.
type owner struct {
	name   string // in owners; "" for one that is not shared
	ctrl   *nvme.Controller
	t      nvme.Transport
	kind   kind
	refs   int // guarded by owners
	watch  *watcher
	memory memory

	mu struct {
		sync.Mutex
		backends map[*Backend]struct{}
	}
}

// kind is what a transport reaches, as far as waiting is concerned.
type kind uint8

const (
	kindPCI    kind = iota
	kindSocket      // another process, which sleeps when it has nothing to do
	kindInline      // this process, which carries commands out as they are submitted
)

// acquire opens the controller of a name, or takes part in the owner that has it open.
func acquire(name string, c Config) (*owner, error) {
	target, err := connect.Parse(name)
	if err != nil {
		return nil, fmt.Errorf("controller %q: %w", name, err)
	}
	owners.Lock()
	defer owners.Unlock()
	if o := owners.open[target.String()]; o != nil {
		o.refs++
		return o, nil
	}
	k := kindPCI
	if target.Socket != "" {
		k = kindSocket
		if err := dmabuf.MakeShareable(); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", target, bdev.ErrUnsupported, err)
		}
	}
	t, err := target.Open(cmp.Or(c.Context, context.Background()))
	if err != nil {
		return nil, err
	}
	o, err := newOwner(t, k, c)
	if err != nil {
		return nil, err
	}
	o.name = target.String()
	if owners.open == nil {
		owners.open = make(map[string]*owner)
	}
	owners.open[o.name] = o
	return o, nil
}

// newOwner initialises the controller behind a transport, which it takes over.
func newOwner(t nvme.Transport, k kind, c Config) (*owner, error) {
	o := &owner{t: t, kind: k, refs: 1}
	o.mu.backends = make(map[*Backend]struct{})
	options := nvme.Options{
		Context: c.Context, Queues: c.Queues, IOTimeout: c.IOTimeout, AbortTimeout: c.AbortTimeout, AdminTimeout: c.AdminTimeout,
		KeepAlive: keepAlive, OnEvent: o.event,
	}
	if options.Queues == 0 {
		options.Queues = DefaultQueues
	}
	w, err := newWatcher(t.Name())
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	o.watch = w
	if o.ctrl, err = nvme.Open(t, options); err != nil {
		w.stop()
		return nil, err
	}
	o.memory.start(o.ctrl)
	w.start(o.ctrl)
	return o, nil
}

// release gives one reference back; the last one shuts the controller down.
func (o *owner) release() error {
	owners.Lock()
	defer owners.Unlock()
	if o.refs--; o.refs > 0 {
		return nil
	}
	if o.name != "" {
		delete(owners.open, o.name)
	}
	o.watch.stop()
	err := o.ctrl.Close()
	return errors.Join(err, o.memory.stop())
}

// add lets a backend use its namespace, if that is compatible with those that do.
func (o *owner) add(b *Backend) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for other := range o.mu.backends {
		if other.ns == b.ns && !(other.readOnly && b.readOnly) {
			return fmt.Errorf("%s, namespace %d: %w: this process has it open already, and only readers admit each other",
				o.ctrl.Name(), b.ns.ID(), bdev.ErrInUse)
		}
	}
	o.mu.backends[b] = struct{}{}
	return nil
}

func (o *owner) remove(b *Backend) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.mu.backends, b)
}

// event is called by the driver with no lock held, on whichever goroutine polls the controller.
func (o *owner) event(e nvme.Event) {
	switch e.Kind {
	case nvme.EventResetting:
		o.watch.hurry(true)
	case nvme.EventReset, nvme.EventFailed:
		o.watch.hurry(false)
	case nvme.EventNamespaceChanged, nvme.EventNamespaceAttached:
		o.mu.Lock()
		defer o.mu.Unlock()
		for b := range o.mu.backends {
			if b.ns.ID() == e.NSID {
				b.changed()
			}
		}
	}
}
