package nvme

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// adminRule is what the driver does about an admin command of a caller's, whichever method it comes by.
type adminRule struct {
	own     bool // the driver lives by it: refused
	long    bool // it may take Options.LongTimeout
	changes bool // namespaces may be others afterwards: they are looked at again
}

// ruleOf is the rule of a command. What is not known, a vendor's own for one, may take long and change anything.
func ruleOf(cmd *spec.Command) adminRule {
	switch cmd.Opcode {
	case spec.AdminCreateSQ, spec.AdminCreateCQ, spec.AdminDeleteSQ, spec.AdminDeleteCQ, spec.AdminAsyncEvent, spec.AdminDoorbellBuffer:
		return adminRule{own: true}
	case spec.AdminGetLogPage, spec.AdminIdentify, spec.AdminAbort, spec.AdminGetFeatures, spec.AdminSelfTest, spec.AdminKeepAlive,
		spec.AdminDirectiveSend, spec.AdminDirectiveReceive, spec.AdminSecuritySend, spec.AdminSecurityReceive, spec.AdminGetLBAStatus:
		return adminRule{}
	case spec.AdminFirmwareDownload:
		return adminRule{long: true}
	case spec.AdminSetFeatures:
		return ruleOfFeature(uint8(cmd.CDW10))
	}
	return adminRule{long: true, changes: true}
}

func ruleOfFeature(fid uint8) adminRule {
	switch fid {
	case spec.FeatQueues, spec.FeatAsyncEvents, spec.FeatKeepAlive:
		return adminRule{own: true}
	case spec.FeatWriteCache, spec.FeatHostBehavior, spec.FeatCommandSets, spec.FeatWriteProtect:
		return adminRule{changes: true} // what the driver says of namespaces
	}
	return adminRule{}
}

// Admin sends an admin command and waits for it. data goes to the controller or comes from it, as the opcode says; it is any
// memory, copied. The driver fills in the command identifier and the data pointer. The returned dword is dword 0 of the
// completion. It fails with a *StatusError, or what the driver's own errors say.
//
// Commands that the driver lives by are refused: those that make and delete queues, asynchronous event requests, doorbell
// buffers, and the features number of queues, asynchronous events and keep alive (Options has them). After a command that may
// change namespaces they are looked at again before Admin returns.
func (c *Controller) Admin(cmd spec.Command, data []byte) (uint32, error) {
	rule := ruleOf(&cmd)
	if rule.own {
		return 0, fmt.Errorf("%s: %s, dword 10 %#x: the driver's own command: %w", c.Name(), spec.AdminName(cmd.Opcode), cmd.CDW10, ErrInvalid)
	}
	if limit := c.adminTransfer(); len(data) > limit {
		return 0, fmt.Errorf("%s: %s: %d bytes, at most %d: %w", c.Name(), spec.AdminName(cmd.Opcode), len(data), limit, ErrInvalid)
	}
	timeout := c.o.AdminTimeout
	if rule.long {
		timeout = c.o.LongTimeout
	}
	dword, err := c.exchange(cmd, data, timeout)
	if err != nil || !rule.changes {
		return dword, err
	}
	if cmd.Opcode == spec.AdminSetFeatures && uint8(cmd.CDW10) == spec.FeatWriteCache {
		c.mu.Lock()
		c.writeCache = cmd.CDW11&1 != 0
		c.mu.Unlock()
	}
	return dword, c.Rescan()
}
