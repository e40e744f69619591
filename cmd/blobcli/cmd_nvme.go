package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/connect"
	"github.com/blobkv/blobkv/nvme/vfio"
)

func (c *cli) nvmeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "nvme", Short: "NVMe controllers: list, hand over, look into, format",
		Long: `NVMe controllers that this project drives itself, without the kernel on the data path.

A controller is a PCI address (0000:01:00.0, see list), or vfio-user:/path/to/dir for one that another process serves. list,
bind and unbind work on every controller of the machine; everything else drives the controller, so it must be bound to
vfio-pci (bind) and no other process may use it. docs/nvme.md says how to set a machine up.`,
		Example: `  blobcli nvme list
  blobcli nvme bind 0000:01:00.0
  blobcli nvme smart 0000:01:00.0
  blobcli -d nvme:0000:01:00.0/1 init`,
	}
	cmd.AddCommand(c.nvmeListCommand(), c.nvmeBindCommand(), c.nvmeUnbindCommand(), c.nvmeIdentifyCommand(), c.nvmeSMARTCommand(),
		c.nvmeLogCommand(), c.nvmeFormatCommand(), c.nvmeResetCommand())
	return cmd
}

// controllerArg is what the commands that take a controller say about it.
const controllerArg = "CONTROLLER"

// askedQueues is how many I/O queue pairs a controller is asked for, so that identify can say how many there are. None is made.
const askedQueues = 128

// withController runs f on a controller and shuts it down afterwards; the first error counts.
func (c *cli) withController(name string, f func(*nvme.Controller) error) error {
	target, err := connect.Parse(strings.TrimPrefix(name, "nvme:"))
	if err != nil {
		return fmt.Errorf("controller %q: %w", name, err)
	}
	t, err := target.Open(c.ctx)
	if err != nil {
		return err
	}
	defer nvme.AbortAfter(c.ctx, t)() // of these commands none has anything to bring to an end
	ctrl, err := nvme.Open(t, nvme.Options{Context: c.ctx, Queues: askedQueues})
	if err != nil {
		return err
	}
	return errors.Join(f(ctrl), ctrl.Close())
}

// listedController is the JSON of a controller in nvme list.
type listedController struct {
	Address    string            `json:"address"`
	Model      string            `json:"model"`
	Serial     string            `json:"serial"`
	Firmware   string            `json:"firmware"`
	Driver     string            `json:"driver"`
	IOMMUGroup int               `json:"iommu_group"` // -1 without an IOMMU
	NUMANode   int               `json:"numa_node"`
	Size       int64             `json:"size"`
	Vendor     uint16            `json:"vendor"`
	Device     uint16            `json:"device"`
	Namespaces []listedNamespace `json:"namespaces"`
}

type listedNamespace struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`
	Size int64  `json:"size"`
}

func (c *cli) nvmeListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "The machine's NVMe controllers, and who drives them", Args: noArgs,
		Long: `The machine's NVMe controllers, and who drives them. Nothing is opened and nothing is written. Model, serial number and size
are what the kernel's driver read; of a controller that is bound to another driver they are not known (see identify).`,
		RunE: func(*cobra.Command, []string) error {
			all, err := vfio.System().List()
			if err != nil {
				return err
			}
			return c.printControllers(all)
		},
	}
}

func (c *cli) printControllers(all []vfio.Controller) error {
	list := make([]listedController, len(all))
	for i, v := range all {
		list[i] = listedController{v.Address, v.Model, v.Serial, v.Firmware, v.Driver, v.Group, v.NUMANode, v.Size(), v.Vendor,
			v.Device, []listedNamespace{}}
		for _, n := range v.Namespaces {
			list[i].Namespaces = append(list[i].Namespaces, listedNamespace{n.Name, n.ID, n.Size})
		}
	}
	return c.print(list, func(w io.Writer) {
		if len(list) == 0 {
			row(w, "no NVMe controller on PCI")
			return
		}
		row(w, "ADDRESS", "MODEL", "SERIAL", "DRIVER", "IOMMU GROUP", "SIZE", "NAMESPACES")
		for _, v := range list {
			group, bytes := "none", "-"
			if v.IOMMUGroup >= 0 {
				group = fmt.Sprint(v.IOMMUGroup)
			}
			if v.Size > 0 {
				bytes = size.Human(v.Size)
			}
			var names []string
			for _, n := range v.Namespaces {
				names = append(names, n.Name)
			}
			row(w, v.Address, orDash(v.Model), orDash(v.Serial), orDash(v.Driver), group, bytes, orDash(strings.Join(names, ",")))
		}
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// bound is the JSON of bind and unbind.
type bound struct {
	Address string `json:"address"`
	Driver  string `json:"driver"`
}

func (c *cli) nvmeBindCommand() *cobra.Command {
	return &cobra.Command{
		Use: "bind ADDRESS", Short: "Take a controller from the kernel's driver and give it to vfio-pci", Args: cobra.ExactArgs(1),
		Long: `Take a controller from the kernel's driver and give it to vfio-pci. Its block devices leave the system; what is on them stays.

It is refused while anything uses a namespace (mounts, swap, volume managers, processes that have it open), naming who does, and
where another device of the same IOMMU group has a kernel driver. It lasts until unbind or the next boot, and needs root.`,
		RunE: func(_ *cobra.Command, args []string) error { return c.rebind(args[0], vfio.System().Bind) },
	}
}

func (c *cli) nvmeUnbindCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unbind ADDRESS", Short: "Give a controller back to the kernel's driver", Args: cobra.ExactArgs(1),
		Long: "Give a controller back to the kernel's driver. It is refused while a process drives the controller. Needs root.",
		RunE: func(_ *cobra.Command, args []string) error { return c.rebind(args[0], vfio.System().Unbind) },
	}
}

func (c *cli) rebind(address string, f func(string) error) error {
	if err := f(address); err != nil {
		return err
	}
	v, err := vfio.System().Controller(address)
	if err != nil {
		return err
	}
	return c.print(bound{v.Address, v.Driver}, func(w io.Writer) {
		row(w, fmt.Sprintf("%s is bound to %s", v.Address, orDash(v.Driver)))
	})
}

func (c *cli) nvmeResetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "reset " + controllerArg, Short: "Reset a controller and see that it works again", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.withController(args[0], func(ctrl *nvme.Controller) error {
				if err := ctrl.Reset(); err != nil {
					return err
				}
				v := struct {
					Controller string `json:"controller"`
					Namespaces int    `json:"namespaces"`
				}{ctrl.Name(), len(ctrl.Namespaces())}
				return c.print(v, func(w io.Writer) {
					row(w, fmt.Sprintf("%s was reset and works, %d namespaces are usable", v.Controller, v.Namespaces))
				})
			})
		},
	}
}
