package softctrl

import (
	"encoding/binary"

	"github.com/blobkv/blobkv/nvme/spec"
)

// manage is the rarer admin commands.
func (c *Controller) manage(sq *subQueue, cmd *spec.Command) (spec.Status, uint32) {
	if c.cfg.Fixed {
		return spec.StatusInvalidOpcode | spec.StatusDNR, 0
	}
	switch cmd.Opcode {
	case spec.AdminFormat:
		return c.formatNVM(cmd), 0
	case spec.AdminSanitize:
		return c.sanitizeAll(cmd), 0
	case spec.AdminNSManagement:
		return c.manageSpace(sq, cmd)
	case spec.AdminNSAttachment:
		return c.attachSpace(sq, cmd), 0
	case spec.AdminFirmwareDownload:
		return c.download(sq, cmd), 0
	case spec.AdminFirmwareCommit:
		return c.commit(cmd), 0
	case spec.AdminSecuritySend, spec.AdminSecurityReceive:
		return c.security(sq, cmd), 0
	}
	return spec.StatusInvalidOpcode | spec.StatusDNR, 0
}

// formatNVM changes the format of one namespace, or all, and empties it.
func (c *Controller) formatNVM(cmd *spec.Command) spec.Status {
	w := cmd.CDW10
	f := int(w & 15)
	protection, first := uint8(w>>5&7), w>>8&1 != 0
	if f >= len(formats) || protection > 3 || protection != 0 && formats[f].MS < spec.PISize {
		return spec.StatusInvalidFormat
	}
	if cmd.NSID != spec.BroadcastNSID && c.all[cmd.NSID] == nil {
		return spec.StatusInvalidNamespace
	}
	c.Drain()
	for id, s := range c.all {
		if cmd.NSID != spec.BroadcastNSID && cmd.NSID != id || s.zones != nil {
			continue
		}
		size := s.cfg.Storage.Size()
		if s.cfg.Storage.Discard(0, size) != nil {
			return spec.StatusInternalError
		}
		c.replace(s, func(n *space) {
			n.shared = &shared{}
			n.cfg.BlockSize, n.cfg.MetaSize = 1<<formats[f].LBADS, int(formats[f].MS)
			n.cfg.Extended, n.cfg.Protection, n.cfg.First = w>>4&1 != 0, protection, first
			n.format(size)
		})
	}
	return spec.StatusSuccess
}

// sanitizeAll empties everything at once.
func (c *Controller) sanitizeAll(cmd *spec.Command) spec.Status {
	if cmd.CDW10&7 != spec.SanitizeBlock {
		return spec.StatusInvalidField
	}
	c.Drain()
	for _, s := range c.all {
		if st := s.zero(0, s.blocks); !st.OK() {
			return st
		}
	}
	c.sanitize = spec.SanitizeStatus{SPROG: 0xFFFF, SSTAT: spec.SanitizeDone, SCDW10: cmd.CDW10}
	return spec.StatusSuccess
}

// manageSpace creates a namespace in new memory, or deletes one.
func (c *Controller) manageSpace(sq *subQueue, cmd *spec.Command) (spec.Status, uint32) {
	switch cmd.CDW10 & 15 {
	case 0:
		page, st := c.fromHost(sq, cmd, spec.IdentifySize)
		if !st.OK() {
			return st, 0
		}
		return c.createSpace(page)
	case 1:
		if c.all[cmd.NSID] == nil {
			return spec.StatusInvalidNamespace, 0
		}
		delete(c.all, cmd.NSID)
		c.publish()
		return spec.StatusSuccess, 0
	}
	return spec.StatusInvalidField, 0
}

// maxCreated bounds the memory of a namespace that a host creates, in bytes.
const maxCreated = 1 << 30

func (c *Controller) createSpace(page []byte) (spec.Status, uint32) {
	var id spec.IdentifyNamespace
	if id.Unmarshal(page) != nil || int(id.FLBAS&15) >= len(formats) || id.NSZE != id.NCAP {
		return spec.StatusInvalidFormat, 0
	}
	f := formats[id.FLBAS&15]
	if id.NSZE == 0 || id.NSZE > maxCreated>>f.LBADS {
		return spec.StatusNSInsufficientCapacity, 0
	}
	ram, err := NewRAM(int64(id.NSZE)<<f.LBADS, c.cfg.WriteCache)
	if err != nil {
		return spec.StatusNSInsufficientCapacity, 0
	}
	nsid := c.highest() + 1
	if c.add(NamespaceConfig{ID: nsid, Storage: ram, BlockSize: 1 << f.LBADS, MetaSize: int(f.MS), Detached: true,
		Protection: id.DPS & spec.DPSTypeMask, First: id.DPS&spec.DPSFirst != 0}) != nil {
		return spec.StatusInvalidFormat, 0
	}
	return spec.StatusSuccess, nsid
}

// attachSpace attaches a namespace to this controller, or detaches it.
func (c *Controller) attachSpace(sq *subQueue, cmd *spec.Command) spec.Status {
	page, st := c.fromHost(sq, cmd, spec.IdentifySize)
	if !st.OK() {
		return st
	}
	s := c.all[cmd.NSID]
	attach := cmd.CDW10&15 == 0
	switch {
	case s == nil:
		return spec.StatusInvalidNamespace
	case binary.LittleEndian.Uint16(page) != 1 || binary.LittleEndian.Uint16(page[2:]) != cntlid:
		return spec.StatusControllerListInvalid
	case attach && s.attached:
		return spec.StatusNSAlreadyAttached
	case !attach && !s.attached:
		return spec.StatusNSNotAttached
	}
	n := *s
	n.attached = attach
	c.all[s.id] = &n
	c.publish()
	return spec.StatusSuccess
}

// download takes part of a firmware image; a part at offset 0 starts a new one.
func (c *Controller) download(sq *subQueue, cmd *spec.Command) spec.Status {
	n, offset := (uint64(cmd.CDW10)+1)*4, uint64(cmd.CDW11)*4
	if offset == 0 {
		c.firmware = nil
	}
	if n > pageSize<<5 || offset != uint64(len(c.firmware)) || offset+n > 1<<20 {
		return spec.StatusInvalidField
	}
	b, st := c.fromHost(sq, cmd, int(n))
	if st.OK() {
		c.firmware = append(c.firmware, b...)
	}
	return st
}

// commit puts the image into slot 1, the only one; its first 8 bytes are the revision.
func (c *Controller) commit(cmd *spec.Command) spec.Status {
	if slot := cmd.CDW10 & 7; slot > 1 {
		return spec.StatusInvalidFirmwareSlot
	}
	if len(c.firmware) < 8 {
		return spec.StatusInvalidFirmwareImage
	}
	copy(c.slots.FRS[0][:], c.firmware)
	c.firmware = nil
	return spec.StatusSuccess
}

// security keeps what was sent, by protocol, and gives it back: enough to see that bytes and fields arrive.
func (c *Controller) security(sq *subQueue, cmd *spec.Command) spec.Status {
	protocol, n := uint8(cmd.CDW10>>24), int(min(cmd.CDW11, pageSize<<5))
	if n == 0 {
		return spec.StatusSuccess
	}
	if cmd.Opcode == spec.AdminSecurityReceive {
		b := make([]byte, n)
		copy(b, c.secure[protocol])
		return c.toHost(sq, cmd, b, n)
	}
	b, st := c.fromHost(sq, cmd, n)
	if st.OK() {
		c.secure[protocol] = b
	}
	return st
}
