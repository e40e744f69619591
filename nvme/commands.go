package nvme

import (
	"fmt"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Feature reads a feature; sel is spec.Select*. data receives what the feature has beside the dword, nil for none.
func (c *Controller) Feature(fid uint8, nsid uint32, sel uint8, data []byte) (uint32, error) {
	cmd := spec.Command{Opcode: spec.AdminGetFeatures, NSID: nsid, CDW10: uint32(fid) | uint32(sel&7)<<8}
	return c.Admin(cmd, data)
}

// SetFeature changes a feature. save makes it outlive a reset, where the controller can. Admin says which are refused.
func (c *Controller) SetFeature(fid uint8, nsid, value uint32, data []byte, save bool) (uint32, error) {
	cmd := spec.Command{Opcode: spec.AdminSetFeatures, NSID: nsid, CDW10: uint32(fid), CDW11: value}
	if save {
		cmd.CDW10 |= spec.Save
	}
	return c.Admin(cmd, data)
}

// SetWriteCache turns the volatile write cache on or off, until the next reset of the device, and looks at the namespaces
// again.
func (c *Controller) SetWriteCache(on bool) error {
	if c.Identify().VWC&spec.VWCPresent == 0 {
		return fmt.Errorf("%s: there is no volatile write cache: %w", c.Name(), ErrUnsupported)
	}
	value := uint32(0)
	if on {
		value = 1
	}
	_, err := c.SetFeature(spec.FeatWriteCache, 0, value, nil, false)
	return err
}

// supports tells whether the controller has an optional admin command.
func (c *Controller) supports(bit uint16, what string) error {
	if c.Identify().OACS&bit == 0 {
		return fmt.Errorf("%s: %s: %w", c.Name(), what, ErrUnsupported)
	}
	return nil
}

// FormatOptions of Format.
type FormatOptions struct {
	Format       int   // index of the LBA format
	Extended     bool  // metadata behind the data of each block
	Protection   uint8 // type, 0 to 3
	ProtectFirst bool  // protection information at the start of the metadata
	Erase        uint8 // spec.Erase*
}

// Format formats a namespace, or all with spec.BroadcastNSID: everything in it is lost. It waits up to LongTimeout and then looks
// at the namespaces again.
func (c *Controller) Format(nsid uint32, o FormatOptions) error {
	if err := c.supports(spec.OACSFormat, "format"); err != nil {
		return err
	}
	if o.Format < 0 || o.Format > 63 || o.Protection > 3 {
		return fmt.Errorf("%s: format %d, protection type %d: %w", c.Name(), o.Format, o.Protection, ErrInvalid)
	}
	cmd := spec.Command{Opcode: spec.AdminFormat, NSID: nsid,
		CDW10: spec.FormatCDW10(uint8(o.Format), o.Extended, o.Protection, o.ProtectFirst, o.Erase)}
	_, err := c.Admin(cmd, nil)
	return err
}

// Sanitize begins to erase everything in the subsystem, for good; action is spec.Sanitize*, pattern that of an overwrite.
// SanitizeStatus tells how far it has come.
func (c *Controller) Sanitize(action uint8, pattern uint32) error {
	if c.Identify().SANICAP&7 == 0 {
		return fmt.Errorf("%s: sanitize: %w", c.Name(), ErrUnsupported)
	}
	_, err := c.Admin(spec.Command{Opcode: spec.AdminSanitize, CDW10: uint32(action & 7), CDW11: pattern}, nil)
	return err
}

// CreateNamespace makes a namespace of a number of blocks of an LBA format and returns its identifier. It is attached to no
// controller.
func (c *Controller) CreateNamespace(blocks uint64, format int, protection uint8) (uint32, error) {
	if err := c.supports(spec.OACSNSManage, "namespace management"); err != nil {
		return 0, err
	}
	id := spec.IdentifyNamespace{NSZE: blocks, NCAP: blocks, FLBAS: uint8(format&15) | uint8(format>>4&3)<<5, DPS: protection}
	page := make([]byte, spec.IdentifySize)
	if err := id.Marshal(page); err != nil {
		return 0, err
	}
	return c.Admin(spec.Command{Opcode: spec.AdminNSManagement}, page)
}

// DeleteNamespace deletes a namespace with all that is in it.
func (c *Controller) DeleteNamespace(nsid uint32) error {
	if err := c.supports(spec.OACSNSManage, "namespace management"); err != nil {
		return err
	}
	_, err := c.Admin(spec.Command{Opcode: spec.AdminNSManagement, NSID: nsid, CDW10: 1}, nil)
	return err
}

// AttachNamespace attaches a namespace to this controller, or detaches it, and looks at the namespaces again.
func (c *Controller) AttachNamespace(nsid uint32, attach bool) error {
	if err := c.supports(spec.OACSNSManage, "namespace attachment"); err != nil {
		return err
	}
	page := make([]byte, spec.IdentifySize)
	page[0] = 1
	id := c.Identify().CNTLID
	page[2], page[3] = byte(id), byte(id>>8)
	cmd := spec.Command{Opcode: spec.AdminNSAttachment, NSID: nsid}
	if !attach {
		cmd.CDW10 = 1
	}
	_, err := c.Admin(cmd, page)
	return err
}

// DownloadFirmware hands an image to the controller, which FirmwareCommit puts into a slot.
func (c *Controller) DownloadFirmware(image []byte) error {
	if err := c.supports(spec.OACSFirmware, "firmware download"); err != nil {
		return err
	}
	if len(image) == 0 || len(image)%4 != 0 {
		return fmt.Errorf("%s: firmware image of %d bytes, want dwords: %w", c.Name(), len(image), ErrInvalid)
	}
	piece := pageSize // also what FWUG asks for, unless it asks for more
	if g := c.Identify().FWUG; g != 0 && g != 0xFF {
		piece = min(int(g)*pageSize, c.adminTransfer())
	}
	for offset := 0; offset < len(image); offset += piece {
		part := image[offset:min(offset+piece, len(image))]
		cmd := spec.Command{Opcode: spec.AdminFirmwareDownload, CDW10: uint32(len(part)/4 - 1), CDW11: uint32(offset / 4)}
		if _, err := c.Admin(cmd, part); err != nil {
			return err
		}
	}
	return nil
}

// CommitFirmware puts the downloaded image into a slot and activates it as action (0 to 3) says (base 2.0, section 5.12).
// An error of status spec.StatusFirmwareNeeds* means that it waits for such a reset.
func (c *Controller) CommitFirmware(slot, action uint8) error {
	if err := c.supports(spec.OACSFirmware, "firmware commit"); err != nil {
		return err
	}
	_, err := c.Admin(spec.Command{Opcode: spec.AdminFirmwareCommit, CDW10: uint32(slot&7) | uint32(action&7)<<3}, nil)
	return err
}

// SecuritySend sends data of a security protocol (Opal is protocol 1), SecurityReceive fetches the answer. specific is the
// protocol's own 16 bits.
func (c *Controller) SecuritySend(protocol uint8, specific uint16, nsid uint32, data []byte) error {
	return c.security(spec.AdminSecuritySend, protocol, specific, nsid, data)
}

// SecurityReceive fills data.
func (c *Controller) SecurityReceive(protocol uint8, specific uint16, nsid uint32, data []byte) error {
	return c.security(spec.AdminSecurityReceive, protocol, specific, nsid, data)
}

func (c *Controller) security(opcode, protocol uint8, specific uint16, nsid uint32, data []byte) error {
	if err := c.supports(spec.OACSSecurity, "security send and receive"); err != nil {
		return err
	}
	cmd := spec.Command{Opcode: opcode, NSID: nsid, CDW10: uint32(protocol)<<24 | uint32(specific)<<8, CDW11: uint32(len(data))}
	_, err := c.Admin(cmd, data)
	return err
}
