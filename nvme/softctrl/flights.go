package softctrl

import (
	"errors"

	"github.com/blobkv/blobkv/internal/dmabuf"
	"github.com/blobkv/blobkv/nvme/spec"
)

const (
	maxFlights   = 256      // commands of a namespace that its storage works on at a time
	flightBatch  = 16       // begun together: the storage prepares for the next while it carries out one, and the host is told before all are done
	flightMemory = 16 << 20 // bytes for those whose memory is in pieces
)

// underWay is the status of a command that its storage works on. It is told to no host: a status has 15 bits.
const underWay spec.Status = 1 << 15

// flights are the commands that a QueuedStorage works on. They belong to the goroutine that uses the controller.
type flights struct {
	c      *Controller
	queue  StorageQueue
	landed func(tag int, err error) // land, made once
	table  [maxFlights]flight       // by tag
	free   []int
	begun  int // since the last poll
	mem    *dmabuf.Pool
	closed bool
}

// flight is one command.
type flight struct {
	sq     *subQueue
	cmd    spec.Command
	parts  [][]byte // the host's memory, when it is in pieces
	bounce []byte   // what the storage uses then
}

// openFlights opens a queue of a namespace's storage, if it has queues and the blocks nothing that the controller keeps beside them.
func (c *Controller) openFlights(n NamespaceConfig) (*flights, error) {
	storage, ok := n.Storage.(QueuedStorage)
	if !ok || n.MetaSize > 0 || n.ZoneBlocks > 0 {
		return nil, nil
	}
	q, err := storage.OpenQueue(maxFlights)
	if err != nil {
		return nil, err
	}
	f := &flights{c: c, queue: q, mem: dmabuf.NewPool(flightMemory)}
	f.landed = f.land
	for tag := range f.table {
		f.free = append(f.free, tag)
	}
	c.flying = append(c.flying, f)
	return f, nil
}

// start has the storage begin a command that reads or writes parts of the host's memory, or flushes, and returns underWay. It returns
// false when the command has to be carried out at once.
func (f *flights) start(sq *subQueue, cmd *spec.Command, o StorageOp, parts [][]byte) bool {
	if f == nil || !f.c.mem.Lasting() {
		return false
	}
	for len(f.free) == 0 { // first: the host's memory may fault in what this completes
		f.poll(true)
	}
	var bounce []byte
	if len(parts) == 1 {
		o.Buf, parts = parts[0], nil
	} else if len(parts) > 1 {
		if bounce = f.bounce(parts, o.Kind == StorageWrite); bounce == nil {
			return false
		}
		o.Buf = bounce
	}
	tag := f.free[len(f.free)-1]
	if !f.queue.Start(tag, o) {
		if bounce != nil {
			f.mem.Put(bounce)
		}
		return false
	}
	f.free = f.free[:len(f.free)-1]
	l := &f.table[tag]
	l.sq, l.cmd, l.bounce, l.parts = sq, *cmd, bounce, append(l.parts[:0], parts...)
	if f.begun++; f.begun >= flightBatch {
		f.poll(false)
	}
	return true
}

// bounce is memory in one piece for that of a host, with what is to be written; nil when there is none.
func (f *flights) bounce(parts [][]byte, write bool) []byte {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > dmabuf.MaxClass {
		return nil
	}
	b, ok := f.mem.TryGet(size)
	if !ok {
		return nil
	}
	if write {
		filled := false
		defer func() {
			if !filled { // the host's memory is not there
				f.mem.Put(b)
			}
		}()
		join(b[:0], parts)
		filled = true
	}
	return b
}

// poll completes the commands that the storage is done with; with wait it waits for one if there are any. It returns how many.
func (f *flights) poll(wait bool) int {
	if len(f.free) == maxFlights {
		return 0
	}
	f.begun = 0
	return f.queue.Poll(wait, f.landed)
}

// land completes a command. The memory of a host whose controller is gone is not touched.
func (f *flights) land(tag int, err error) {
	l := f.table[tag]
	f.free = append(f.free, tag)
	if l.bounce != nil {
		defer f.mem.Put(l.bounce)
	}
	if !f.c.removed.Load() {
		st := written(err)
		if l.cmd.Opcode == spec.CmdRead {
			st = media(err, spec.StatusUnrecoveredRead)
			if st.OK() {
				scatter(l.parts, l.bounce)
			}
		}
		f.c.complete(l.sq, &l.cmd, st, 0)
	}
}

// Drain completes all commands that a storage works on, so that no memory of the host is in use.
func (c *Controller) Drain() {
	for _, f := range c.flying {
		for len(f.free) < maxFlights {
			f.poll(true)
		}
	}
}

// Working tells whether a storage works on commands, so that Process has something to do before the host rings again.
func (c *Controller) Working() bool {
	for _, f := range c.flying {
		if len(f.free) < maxFlights {
			return true
		}
	}
	return false
}

// Close removes the controller, waits for what its storages work on, and closes their queues; the storages stay open.
func (c *Controller) Close() error {
	c.Remove()
	c.Drain()
	var err error
	for _, f := range c.flying { // which stays as it is: without queued storage, another goroutine may be in Process
		err = errors.Join(err, f.close())
	}
	return err
}

// close closes the queue, once.
func (f *flights) close() error {
	if f.closed {
		return nil
	}
	f.closed = true
	return errors.Join(f.queue.Close(), f.mem.Close())
}
