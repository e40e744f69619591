package softctrl

import (
	"sync"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Stuck is a CSTS.RDY that does not follow CC.EN.
type Stuck uint8

// The ways of being stuck.
const (
	NotStuck      Stuck = iota
	StuckDisabled       // never becomes ready
	StuckEnabled        // stays ready when it is disabled
)

// SetStuck makes CSTS.RDY stick, from the next change of CC.EN on. NotStuck lets it follow again.
func (c *Controller) SetStuck(s Stuck) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stuck = s; s == NotStuck && !c.cc.EN() {
		c.csts = 0
	}
}

// Action is what a Fault does to a command.
type Action uint8

// The actions.
const (
	FailWith Action = iota // completes it with Fault.Status and does not carry it out
	Lose                   // carries it out and never completes it; an abort does not find it
	Hang                   // does not carry it out; an abort completes it
	Slow                   // carries it out after Fault.Delay; an abort before that completes it
	Twice                  // completes it twice
	WrongID                // completes another command identifier, which is not outstanding
	CutPower               // carries it out and leaves the bus before it is completed
)

// Fault is something that goes wrong. It applies to commands that match all of its fields.
type Fault struct {
	Admin  bool
	Opcode int    // AnyOpcode for any but asynchronous event requests
	NSID   uint32 // 0 is any
	Skip   int    // matching commands that pass before
	Times  int    // matching commands that suffer; 0 is one, negative is all
	Do     Action
	Status spec.Status
	Delay  time.Duration
}

// AnyOpcode as Fault.Opcode matches any.
const AnyOpcode = -1

// faultScript has the faults to come, and the commands that they keep.
type faultScript struct {
	mu       sync.Mutex
	faults   []*Fault
	deferred []deferred
}

// deferred is a command that is not completed yet.
type deferred struct {
	sq   *subQueue
	cmd  spec.Command
	due  time.Duration
	hang bool
}

// Inject adds a fault. Faults are tried in the order they were added.
func (c *Controller) Inject(f Fault) {
	if f.Times == 0 {
		f.Times = 1
	}
	c.script.mu.Lock()
	defer c.script.mu.Unlock()
	c.script.faults = append(c.script.faults, &f)
	c.count()
}

// ClearFaults forgets the faults that are to come, not the commands that were kept.
func (c *Controller) ClearFaults() {
	c.script.mu.Lock()
	defer c.script.mu.Unlock()
	c.script.faults = nil
	c.count()
}

// count keeps busy, the number that spares the fast path the lock. It is called with script.mu held.
func (c *Controller) count() {
	c.busy.Store(int32(len(c.script.faults) + len(c.script.deferred)))
}

// fault returns the fault that a command suffers, nil for none.
func (c *Controller) fault(sq *subQueue, cmd *spec.Command) *Fault {
	c.script.mu.Lock()
	defer c.script.mu.Unlock()
	for i, f := range c.script.faults {
		if !f.matches(sq.id == 0, cmd) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times--; f.Times == 0 {
			c.script.faults = append(c.script.faults[:i:i], c.script.faults[i+1:]...)
			c.count()
		}
		return f
	}
	return nil
}

func (f *Fault) matches(admin bool, cmd *spec.Command) bool {
	if f.Admin != admin || f.NSID != 0 && f.NSID != cmd.NSID {
		return false
	}
	if f.Opcode == AnyOpcode {
		return !admin || cmd.Opcode != spec.AdminAsyncEvent
	}
	return f.Opcode == int(cmd.Opcode)
}

// suffer applies a fault to a command.
func (c *Controller) suffer(f *Fault, sq *subQueue, cmd *spec.Command) {
	switch f.Do {
	case FailWith:
		c.complete(sq, cmd, f.Status, 0)
	case Lose:
		c.execute(sq, cmd)
	case Hang, Slow:
		c.script.mu.Lock()
		c.script.deferred = append(c.script.deferred, deferred{sq, *cmd, c.cfg.Now() + f.Delay, f.Do == Hang})
		c.count()
		c.script.mu.Unlock()
	case Twice:
		status, result := c.execute(sq, cmd)
		c.complete(sq, cmd, status, result)
		c.complete(sq, cmd, status, result)
	case WrongID:
		wrong := *cmd
		wrong.CID ^= 0x3FF
		c.complete(sq, &wrong, spec.StatusSuccess, 0)
	case CutPower:
		c.execute(sq, cmd)
		c.Remove()
	}
}

// Deferred is how many commands are kept, slow ones and those that hang.
func (c *Controller) Deferred() int {
	c.script.mu.Lock()
	defer c.script.mu.Unlock()
	return len(c.script.deferred)
}

// late carries out slow commands whose time has come.
func (c *Controller) late() {
	if c.busy.Load() == 0 {
		return
	}
	now := c.cfg.Now()
	c.script.mu.Lock()
	var due, rest []deferred
	for _, d := range c.script.deferred {
		if !d.hang && d.due <= now {
			due = append(due, d)
		} else {
			rest = append(rest, d)
		}
	}
	c.script.deferred = rest
	c.count()
	c.script.mu.Unlock()
	for i := range due {
		c.finishLate(&due[i])
	}
}

func (c *Controller) finishLate(d *deferred) {
	if d.sq.id == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
	} else {
		d.sq.mu.Lock()
		defer d.sq.mu.Unlock()
	}
	if d.sq.deleted || c.subs[d.sq.id].Load() != d.sq {
		return
	}
	status, result := c.execute(d.sq, &d.cmd)
	c.complete(d.sq, &d.cmd, status, result)
}

// abort ends a command that is deferred; false when there is none of that identifier.
func (c *Controller) abort(sqid, cid uint16) bool {
	c.script.mu.Lock()
	var found *deferred
	for i := range c.script.deferred {
		if d := c.script.deferred[i]; d.sq.id == sqid && d.cmd.CID == cid {
			found = &d
			c.script.deferred = append(c.script.deferred[:i], c.script.deferred[i+1:]...)
			break
		}
	}
	c.count()
	c.script.mu.Unlock()
	if found == nil {
		return false
	}
	if sqid != 0 {
		found.sq.mu.Lock()
		defer found.sq.mu.Unlock()
	}
	c.complete(found.sq, &found.cmd, spec.StatusAbortRequested, 0)
	return true
}

// forget drops the commands of a controller that is reset.
func (s *faultScript) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deferred = nil
}
