package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/nvme"
)

// identity is the JSON of nvme identify.
type identity struct {
	Controller  string          `json:"controller"`
	Model       string          `json:"model"`
	Serial      string          `json:"serial"`
	Firmware    string          `json:"firmware"`
	NQN         string          `json:"nqn"`
	Version     string          `json:"version"`
	Vendor      uint16          `json:"vendor"`
	MaxTransfer int             `json:"max_transfer"` // bytes; 0 is no limit
	MaxQueues   int             `json:"max_queues"`   // I/O queue pairs that were granted, of askedQueues
	WriteCache  bool            `json:"volatile_write_cache"`
	Capacity    uint64          `json:"capacity"` // bytes, 0 is not said
	Unallocated uint64          `json:"unallocated"`
	Namespaces  []identityOfOne `json:"namespaces"`
	Refused     []refusedOfOne  `json:"unusable,omitempty"`
}

// identityOfOne is a namespace.
type identityOfOne struct {
	ID          uint32           `json:"id"`
	Size        int64            `json:"size"`
	BlockSize   int              `json:"block_size"`
	Metadata    int              `json:"metadata"` // bytes of a block
	Protection  uint8            `json:"protection_type"`
	Format      int              `json:"format"`
	Formats     []identityFormat `json:"formats"`
	AtomicPower uint64           `json:"atomic_blocks_power_fail"`
	Boundary    uint64           `json:"optimal_boundary_blocks"`
	Zoned       bool             `json:"zoned"`
	ReadOnly    bool             `json:"read_only"`
}

type identityFormat struct {
	BlockSize   int   `json:"block_size"`
	Metadata    int   `json:"metadata"`
	Performance uint8 `json:"relative_performance"` // 0 is best
}

type refusedOfOne struct {
	ID     uint32 `json:"id"`
	Reason string `json:"reason"`
}

func (c *cli) nvmeIdentifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "identify " + controllerArg, Short: "What a controller and its namespaces say of themselves", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.withController(args[0], func(ctrl *nvme.Controller) error {
				v, err := identify(ctrl)
				if err != nil {
					return err
				}
				return c.print(v, v.text)
			})
		},
	}
}

func identify(ctrl *nvme.Controller) (*identity, error) {
	id, vs := ctrl.Identify(), ctrl.Version()
	v := &identity{
		Controller: ctrl.Name(), Model: id.Model(), Serial: id.Serial(), Firmware: id.Firmware(), NQN: id.NQN(),
		Version: vs.String(), Vendor: id.VID, MaxQueues: ctrl.MaxQueues(), WriteCache: id.VWC&1 != 0,
		Capacity: id.TNVMCAP.Saturated(), Unallocated: id.UNVMCAP.Saturated(), Namespaces: []identityOfOne{},
	}
	if id.MDTS != 0 && id.MDTS < 32 {
		v.MaxTransfer = 1 << (12 + ctrl.Capabilities().MPSMIN() + id.MDTS)
	}
	ids, err := ctrl.ListNamespaces(false)
	if err != nil {
		return nil, err
	}
	for _, nsid := range ids {
		ns, err := ctrl.Namespace(nsid)
		if err != nil {
			v.Refused = append(v.Refused, refusedOfOne{nsid, err.Error()})
		} else if info := ns.Info(); info != nil {
			v.Namespaces = append(v.Namespaces, identityOf(info))
		}
	}
	return v, nil
}

func identityOf(n *nvme.NamespaceInfo) identityOfOne {
	v := identityOfOne{
		ID: n.ID, Size: int64(n.Blocks) * int64(n.BlockSize), BlockSize: n.BlockSize, Metadata: n.MetaSize, Protection: n.Protection,
		Format: n.Format, AtomicPower: n.AtomicPower, Boundary: n.Boundary, Zoned: n.ZoneBlocks != 0, ReadOnly: n.ReadOnly,
	}
	for _, f := range n.Identify.LBAF[:min(int(n.Identify.NLBAF)+1, len(n.Identify.LBAF))] {
		g := identityFormat{Metadata: int(f.MS), Performance: f.RP}
		if f.LBADS < 32 && f.LBADS > 0 {
			g.BlockSize = 1 << f.LBADS
		}
		v.Formats = append(v.Formats, g)
	}
	return v
}

func (v *identity) text(w io.Writer) {
	row(w, "controller", v.Controller)
	row(w, "model", v.Model)
	row(w, "serial", v.Serial)
	row(w, "firmware", v.Firmware)
	row(w, "nqn", orDash(v.NQN))
	row(w, "nvme version", v.Version)
	row(w, "largest transfer", orNone(int64(v.MaxTransfer), "no limit"))
	row(w, "queue pairs", v.MaxQueues)
	row(w, "volatile write cache", v.WriteCache)
	if v.Capacity > 0 {
		row(w, "capacity", fmt.Sprintf("%s, %s of it in no namespace", size.Human(int64(v.Capacity)), size.Human(int64(v.Unallocated))))
	}
	for i := range v.Namespaces {
		v.Namespaces[i].text(w)
	}
	for _, n := range v.Refused {
		row(w, fmt.Sprintf("namespace %d", n.ID), "cannot be used: "+n.Reason)
	}
}

func (n *identityOfOne) text(w io.Writer) {
	what := fmt.Sprintf("%s (%d bytes), blocks of %d bytes", size.Human(n.Size), n.Size, n.BlockSize)
	if n.Metadata > 0 {
		what += fmt.Sprintf(" and %d of metadata, protection type %d", n.Metadata, n.Protection)
	}
	if n.Zoned {
		what += ", zoned"
	}
	if n.ReadOnly {
		what += ", write protected"
	}
	row(w, fmt.Sprintf("namespace %d", n.ID), what)
	row(w, "  written atomically", fmt.Sprintf("%d blocks across a power failure", n.AtomicPower))
	row(w, "  optimal boundary", orNone(int64(n.Boundary)*int64(n.BlockSize), "none"))
	for i, f := range n.Formats {
		mark := ""
		if i == n.Format {
			mark = " (in use)"
		}
		row(w, fmt.Sprintf("  format %d", i), fmt.Sprintf("blocks of %d bytes, %d of metadata, performance %d%s", f.BlockSize, f.Metadata, f.Performance, mark))
	}
}

func orNone(bytes int64, none string) string {
	if bytes == 0 {
		return none
	}
	return size.Human(bytes)
}
