package nvme

import (
	"fmt"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// call is an admin command. It is guarded by Controller.mu.
type call struct {
	req    Request
	data   DMA
	done   bool
	answer func(*call) // called when it is done, for what nobody waits for
}

func (k *call) reset(cmd spec.Command) {
	k.req = Request{Op: OpRaw, Raw: cmd, Tag: k, Flags: FlagNoRetry}
	k.done = false
}

// dword is dword 0 of the answer.
func (k *call) dword() uint32 { return uint32(k.req.Result) }

// submitCall sends an admin command; false when the admin queue is full. It is called with mu held.
func (c *Controller) submitCall(k *call) bool {
	one := [1]*Request{&k.req}
	return c.admin.Submit(one[:]) == 1
}

// pollAdmin takes answered admin commands. It is called with mu held.
func (c *Controller) pollAdmin() {
	var batch [8]*Request
	for n := c.admin.Poll(batch[:]); n > 0; n = c.admin.Poll(batch[:]) {
		for _, r := range batch[:n] {
			k := r.Tag.(*call)
			if k.done = true; k.answer != nil {
				k.answer(k)
			}
		}
	}
}

// exchange is Admin for any command, also the driver's own, and nothing follows it.
func (c *Controller) exchange(cmd spec.Command, data []byte, timeout time.Duration) (uint32, error) {
	k := &call{}
	if len(data) > 0 {
		var err error
		if k.data, err = c.adminBuffer(&cmd, data); err != nil {
			return 0, fmt.Errorf("%s: %s: %w", c.Name(), spec.AdminName(cmd.Opcode), err)
		}
	}
	k.reset(cmd)
	err := c.perform(k, timeout)
	if len(data) > 0 {
		if err == nil && spec.Transfer(cmd.Opcode) != spec.TransferToCtrl {
			copy(data, k.data.Bytes)
		}
		err = joinErrors(err, c.t.Free(k.data))
	}
	if err != nil {
		return k.dword(), fmt.Errorf("%s: %w", c.Name(), err)
	}
	return k.dword(), nil
}

// adminTransfer is the most data of an admin command, in bytes.
func (c *Controller) adminTransfer() int { return int(min(c.maxBytes, maxTransferLimit)) }

// adminBuffer makes memory that the controller reaches, with the data in it, and points the command there. A PRP list
// follows the data in the same memory where one is needed.
func (c *Controller) adminBuffer(cmd *spec.Command, data []byte) (DMA, error) {
	size := roundUp(int64(len(data)), pageSize)
	pages := size / pageSize
	total := size
	if pages > 2 {
		total += roundUp((pages-1)*8, pageSize)
	}
	m, err := c.t.Alloc(int(total))
	if err != nil {
		return DMA{}, err
	}
	if spec.Transfer(cmd.Opcode) != spec.TransferToHost {
		copy(m.Bytes, data)
	}
	cmd.PRP1 = m.IOVA
	switch {
	case pages == 2:
		cmd.PRP2 = m.IOVA + pageSize
	case pages > 2:
		cmd.PRP2 = m.IOVA + uint64(size)
		err = fillList(m.Bytes[size:], m.IOVA+pageSize, uint64(size)-pageSize, pageSize)
	}
	return m, err
}

// maxCallers is how many commands of callers are in the admin queue at a time: the rest of it is the driver's, which scans,
// aborts and waits for events whatever others do.
const maxCallers = adminEntries / 2

// perform submits a call and waits until it is done. A command that takes too long makes the controller be reset, which ends
// it: the wait is bounded by that.
func (c *Controller) perform(k *call, timeout time.Duration) error {
	var deadline time.Duration
	submitted := false
	for i := 0; ; i++ {
		c.mu.Lock()
		if !submitted {
			if c.state == stateFailed || c.state == stateClosed {
				defer c.mu.Unlock()
				return c.why
			}
			if submitted = c.state == stateRunning && c.callers < maxCallers && c.submitCall(k); submitted {
				deadline = c.o.Clock.Now() + timeout
				c.callers++
			}
		}
		done := k.done
		if done {
			c.callers--
		}
		if submitted && !done && c.state == stateRunning && c.o.Clock.Now() > deadline {
			c.reset(fmt.Errorf("%s, no answer for %v: %w", spec.AdminName(k.req.Raw.Opcode), timeout, ErrTimeout))
		}
		c.mu.Unlock()
		if done {
			return k.req.Err
		}
		c.idle(i)
	}
}
