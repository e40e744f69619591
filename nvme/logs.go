package nvme

import (
	"encoding/binary"
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// logChunk is how much of a log page one command reads, in bytes.
const logChunk = 4096

// LogPage reads len(page) bytes, a multiple of 4, of a log page from a byte offset on. nsid is spec.BroadcastNSID for the
// controller's. keep leaves the asynchronous event that the page belongs to unacknowledged. Longer pages are read in pieces
// where the controller supports that.
func (c *Controller) LogPage(lid uint8, nsid uint32, offset uint64, page []byte, keep bool) error {
	if len(page) == 0 || len(page)%4 != 0 || offset%4 != 0 {
		return fmt.Errorf("%s: log page %#02x, %d bytes at %d, want dwords: %w", c.Name(), lid, len(page), offset, ErrInvalid)
	}
	extended := c.Identify().LPA&spec.LPAExtended != 0
	if !extended && (offset != 0 || len(page) > logChunk) {
		return fmt.Errorf("%s: log page %#02x beyond the first %d bytes: %w", c.Name(), lid, logChunk, ErrUnsupported)
	}
	for len(page) > 0 {
		n := min(len(page), logChunk)
		dwords := uint32(n/4 - 1)
		cmd := spec.Command{Opcode: spec.AdminGetLogPage, NSID: nsid, CDW10: uint32(lid) | dwords<<16}
		if keep || n < len(page) {
			cmd.CDW10 |= 1 << 15
		}
		cmd.CDW12, cmd.CDW13 = uint32(offset), uint32(offset>>32)
		if _, err := c.Admin(cmd, page[:n]); err != nil {
			return err
		}
		page, offset = page[n:], offset+uint64(n)
	}
	return nil
}

// SMART reads the health log: of the controller with spec.BroadcastNSID, of a namespace where the controller has that.
func (c *Controller) SMART(nsid uint32) (spec.SMART, error) {
	var s spec.SMART
	page := make([]byte, spec.SMARTSize)
	if err := c.LogPage(spec.LogSMART, nsid, 0, page, false); err != nil {
		return s, err
	}
	return s, s.Unmarshal(page)
}

// ErrorLog reads the newest entries of the error log, at most most of them.
func (c *Controller) ErrorLog(most int) ([]spec.ErrorEntry, error) {
	most = min(most, int(c.Identify().ELPE)+1)
	if c.Identify().LPA&spec.LPAExtended == 0 {
		most = min(most, logChunk/spec.ErrorEntrySize)
	}
	if most <= 0 {
		return nil, nil
	}
	page := make([]byte, most*spec.ErrorEntrySize)
	if err := c.LogPage(spec.LogError, spec.BroadcastNSID, 0, page, false); err != nil {
		return nil, err
	}
	var entries []spec.ErrorEntry
	for ; len(page) > 0; page = page[spec.ErrorEntrySize:] {
		var e spec.ErrorEntry
		if err := e.Unmarshal(page); err != nil {
			return nil, err
		}
		if e.Count == 0 {
			break
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// FirmwareSlots reads which firmware is in which slot.
func (c *Controller) FirmwareSlots() (spec.FirmwareSlots, error) {
	var f spec.FirmwareSlots
	page := make([]byte, spec.FirmwareSize)
	if err := c.LogPage(spec.LogFirmware, spec.BroadcastNSID, 0, page, false); err != nil {
		return f, err
	}
	return f, f.Unmarshal(page)
}

// ChangedNamespaces reads and empties the list of namespaces that changed since it was read last; all is true when more
// changed than the list holds. The driver reads it by itself when the controller reports a change.
func (c *Controller) ChangedNamespaces() (ids []uint32, all bool, err error) {
	page := make([]byte, spec.ChangedNSSize)
	if err := c.LogPage(spec.LogChangedNS, spec.BroadcastNSID, 0, page, false); err != nil {
		return nil, false, err
	}
	if binary.LittleEndian.Uint32(page) == spec.ChangedOverflow {
		return nil, true, nil
	}
	ids, err = spec.ActiveList(page)
	if err != nil {
		return nil, false, fmt.Errorf("%s: log of changed namespaces: %w: %w", c.Name(), ErrProtocol, err)
	}
	return ids, false, nil
}

// Effects reads which commands the controller supports and what they do.
func (c *Controller) Effects() (spec.Effects, error) {
	var e spec.Effects
	page := make([]byte, spec.EffectsSize)
	if err := c.LogPage(spec.LogEffects, 0, 0, page, false); err != nil {
		return e, err
	}
	return e, e.Unmarshal(page)
}

// SanitizeStatus reads how far a sanitize operation has come.
func (c *Controller) SanitizeStatus() (spec.SanitizeStatus, error) {
	var s spec.SanitizeStatus
	page := make([]byte, spec.SanitizeSize)
	if err := c.LogPage(spec.LogSanitize, spec.BroadcastNSID, 0, page, false); err != nil {
		return s, err
	}
	return s, s.Unmarshal(page)
}
