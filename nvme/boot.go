package nvme

import (
	"fmt"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// bootState brings a controller from any state to one in which it works (base 2.0, section 3.5.1). Each method below is what
// happens when the wait before it is over; each wait is named and has a deadline, that of the registers from CAP.TO.
type bootState struct {
	sequence
	attempts int
	stopped  bool // the controller stopped and started: after a reset a second attempt is worth it even without a function reset
	pending  []uint16
}

// maxAttempts is how often a boot is tried, with a reset of the whole function in between where the transport can do that.
const maxAttempts = 2

// start begins a boot.
func (c *Controller) start() error {
	c.boot.attempts++
	c.boot.stopped = false
	return c.bootRegisters()
}

// readyTimeout is how long the controller may take to change CSTS.RDY.
func (c *Controller) readyTimeout() time.Duration {
	return time.Duration(c.cap.TO()+1) * 500 * time.Millisecond
}

// bootRegisters reads what never changes and stops a controller that somebody left running.
func (c *Controller) bootRegisters() error {
	if err := c.readCapabilities(); err != nil {
		return err
	}
	v, err := c.t.Load32(spec.RegCC)
	if err != nil {
		return err
	}
	status, err := c.status()
	if err != nil {
		return err
	}
	cc := spec.CC(v)
	if !cc.EN() {
		return c.bootWaitQuiet()
	}
	if !status.RDY() && !status.CFS() && c.state == stateStarting {
		// It is starting: EN is not to change before it is ready. When it never is, a reset is all that is left.
		late := func() (bool, error) {
			s, err := c.status()
			return s.RDY() || s.CFS() || c.now >= c.boot.deadline, err
		}
		return c.boot.wait("waiting for a controller that was starting", c.readyTimeout(), late, func() error { return c.bootDisable(cc) })
	}
	return c.bootDisable(cc)
}

// readCapabilities reads and checks CAP and VS.
func (c *Controller) readCapabilities() error {
	v, err := c.t.Load64(spec.RegCAP)
	if err != nil {
		return err
	}
	vs, err := c.t.Load32(spec.RegVS)
	if err != nil {
		return err
	}
	r := spec.CAP(v)
	switch {
	case v == ^uint64(0) || vs == spec.AllOnes:
		return fmt.Errorf("registers read as all ones: %w", ErrGone)
	case r.MQES() == 0:
		return fmt.Errorf("CAP %#x: queues of one entry: %w", v, ErrProtocol)
	case r.CSS()&(spec.CSSNVM|spec.CSSIOCS) == 0:
		return fmt.Errorf("CAP %#x: no NVM command set: %w", v, ErrUnsupported)
	case r.MPSMIN() > 0:
		return fmt.Errorf("CAP %#x: its smallest page is %d bytes, this driver's %d: %w", v, pageSize<<r.MPSMIN(), pageSize, ErrUnsupported)
	case c.cap != 0 && (c.cap != r || c.vs != spec.VS(vs)):
		return fmt.Errorf("CAP %#x and VS %#x were %#x and %#x before: %w", v, vs, uint64(c.cap), uint32(c.vs), ErrProtocol)
	}
	c.cap, c.vs = r, spec.VS(vs)
	return nil
}

// status reads CSTS; ErrGone when the controller is not there.
func (c *Controller) status() (spec.CSTS, error) {
	v, err := c.t.Load32(spec.RegCSTS)
	if err != nil {
		return 0, err
	}
	if s := spec.CSTS(v); !s.Gone() {
		return s, nil
	}
	return 0, fmt.Errorf("CSTS reads as all ones: %w", ErrGone)
}

// bootDisable clears CC.EN.
func (c *Controller) bootDisable(cc spec.CC) error {
	if err := c.t.Store32(spec.RegCC, uint32(cc.WithSHN(spec.SHNNone)&^spec.CCEnable)); err != nil {
		return err
	}
	if delay := c.quirks.disableDelay(); delay > 0 {
		over := func() (bool, error) { return c.now >= c.boot.deadline, nil }
		return c.boot.wait("waiting after disabling", delay, over, c.bootWaitQuiet)
	}
	return c.bootWaitQuiet()
}

// bootWaitQuiet waits until the controller has stopped: from then on it reaches no memory.
func (c *Controller) bootWaitQuiet() error {
	quiet := func() (bool, error) {
		s, err := c.status()
		return !s.RDY(), err
	}
	return c.boot.wait("waiting for CSTS.RDY to become 0", c.readyTimeout(), quiet, c.bootEnable)
}

// bootEnable gives the controller the admin queue and enables it.
func (c *Controller) bootEnable() error {
	c.salvage()
	css := uint8(spec.CCCSSNVM)
	if c.cap.CSS()&spec.CSSIOCS != 0 {
		css = spec.CCCSSAll
	}
	err := c.t.Store32(spec.RegAQA, spec.AQA(adminEntries, adminEntries))
	if err == nil {
		err = c.t.Store64(spec.RegASQ, c.admin.sq.IOVA)
	}
	if err == nil {
		err = c.t.Store64(spec.RegACQ, c.admin.cq.IOVA)
	}
	if err == nil {
		err = c.t.Store32(spec.RegCC, uint32(spec.MakeCC(css, 0)))
	}
	if err != nil {
		return err
	}
	ready := func() (bool, error) {
		s, err := c.status()
		if err == nil && s.CFS() {
			err = fmt.Errorf("CSTS.CFS is set: %w", ErrFailed)
		}
		return s.RDY(), err
	}
	return c.boot.wait("waiting for CSTS.RDY to become 1", c.readyTimeout(), ready, c.bootIdentify)
}

// bootIdentify asks the controller who it is.
func (c *Controller) bootIdentify() error {
	c.boot.stopped = true
	c.admin.resume()
	cmd := spec.Command{Opcode: spec.AdminIdentify, CDW10: spec.CNSController}
	return c.boot.ask("identifying the controller", cmd, c.bootJudge, nil)
}

func (c *Controller) bootJudge() error {
	id := new(spec.IdentifyController)
	if err := id.Unmarshal(c.boot.call.data.Bytes); err != nil {
		return err
	}
	c.vendorStripe = c.boot.call.data.Bytes[vendorStripeByte]
	if err := c.judge(id); err != nil {
		return err
	}
	cmd := spec.Command{Opcode: spec.AdminSetFeatures, CDW10: spec.FeatQueues, CDW11: spec.QueueCounts(uint16(c.o.Queues), uint16(c.o.Queues))}
	return c.boot.ask("asking for queues", cmd, c.bootQueues, nil)
}

// vendorStripeByte is where an Intel controller of QuirkStripe has the stripe: byte 3 of the vendor's area.
const vendorStripeByte = 3072 + 3

// judge checks what the controller says of itself, and takes over what the driver goes by.
func (c *Controller) judge(id *spec.IdentifyController) error {
	switch {
	case id.SQES&15 > 6 || id.SQES>>4 < 6:
		return fmt.Errorf("submission queue entries of 2^%d to 2^%d bytes: %w", id.SQES&15, id.SQES>>4, ErrUnsupported)
	case id.CQES&15 > 4 || id.CQES>>4 < 4:
		return fmt.Errorf("completion queue entries of 2^%d to 2^%d bytes: %w", id.CQES&15, id.CQES>>4, ErrUnsupported)
	case id.CNTRLTYPE > 1:
		return fmt.Errorf("controller type %d does no I/O: %w", id.CNTRLTYPE, ErrUnsupported)
	}
	if old := c.ident.Load(); old != nil && (old.SN != id.SN || old.MN != id.MN) {
		return fmt.Errorf("%q, serial number %q, was %q, %q before: %w", id.Model(), id.Serial(), old.Model(), old.Serial(), ErrProtocol)
	}
	c.ident.Store(id)
	c.quirks |= quirksOf(id)
	c.maxBytes = uint64(c.o.MaxTransfer)
	if id.MDTS != 0 && id.MDTS < 32 {
		c.maxBytes = min(c.maxBytes, pageSize<<id.MDTS)
	}
	c.sgl = id.SGLS&spec.SGLSSupport != 0 && id.SGLS&spec.SGLSSupport != 3 && !c.o.NoSGL && c.quirks&QuirkNoSGL == 0
	for i, v := range id.CRDT {
		c.retryDelays[i+1] = min(time.Duration(v)*100*time.Millisecond, maxRetryDelay)
	}
	return nil
}

// maxRetryDelay bounds what a controller may ask for between two tries.
const maxRetryDelay = 10 * time.Second

// retryDelay is how long to wait before a command with this status is sent again.
func (c *Controller) retryDelay(s spec.Status) time.Duration { return c.retryDelays[s.CRD()] }

// bootQueues takes over how many queues were granted, and lays queue pairs out.
func (c *Controller) bootQueues() error {
	sq, cq := spec.GrantedQueues(c.boot.call.dword())
	c.granted = min(int(min(sq, cq)), c.o.Queues)
	entries := min(c.o.Depth, int(c.cap.MQES())+1)
	if c.layout.entries == 0 {
		size := listSize(c.maxBytes)
		var err error
		if c.layout, err = layoutQueue(entries, size, (memoryLimit-memoryFixed)/int64(c.granted)); err != nil {
			return err
		}
	}
	c.maxBytes = min(c.maxBytes, uint64(c.layout.listSize)/8*pageSize)
	return c.bootShadow()
}

// listSize is the memory of one PRP list, a power of two so that none crosses a page.
func listSize(maxBytes uint64) int {
	size := 128
	for uint64(size)/8*pageSize < maxBytes {
		size *= 2
	}
	return size
}
