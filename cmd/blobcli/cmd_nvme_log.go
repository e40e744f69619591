package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/blobkv/blobkv/internal/size"
	"github.com/blobkv/blobkv/nvme"
	"github.com/blobkv/blobkv/nvme/spec"
)

// smartView is the JSON of nvme smart.
type smartView struct {
	Controller      string   `json:"controller"`
	Warnings        []string `json:"warnings"`
	Temperature     *int     `json:"temperature_celsius"` // null: not reported
	Spare           uint8    `json:"available_spare_percent"`
	SpareThreshold  uint8    `json:"spare_threshold_percent"`
	Used            uint8    `json:"percentage_used"`
	BytesRead       uint64   `json:"bytes_read"`
	BytesWritten    uint64   `json:"bytes_written"`
	HostReads       uint64   `json:"host_reads"`
	HostWrites      uint64   `json:"host_writes"`
	BusyMinutes     uint64   `json:"busy_minutes"`
	PowerCycles     uint64   `json:"power_cycles"`
	PowerOnHours    uint64   `json:"power_on_hours"`
	UnsafeShutdowns uint64   `json:"unsafe_shutdowns"`
	MediaErrors     uint64   `json:"media_errors"`
	ErrorEntries    uint64   `json:"error_log_entries"`
}

func (c *cli) nvmeSMARTCommand() *cobra.Command {
	return &cobra.Command{
		Use: "smart " + controllerArg, Short: "The health of a controller", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.withController(args[0], func(ctrl *nvme.Controller) error {
				s, err := ctrl.SMART(spec.BroadcastNSID)
				if err != nil {
					return err
				}
				v := smartOf(ctrl.Name(), &s)
				return c.print(v, v.text)
			})
		},
	}
}

func smartOf(name string, s *spec.SMART) *smartView {
	return &smartView{
		Controller: name, Warnings: s.Warnings(), Temperature: s.Celsius(), Spare: s.AvailableSpare,
		SpareThreshold: s.SpareThreshold, Used: s.PercentageUsed, BytesRead: spec.DataUnitBytes(s.DataUnitsRead),
		BytesWritten: spec.DataUnitBytes(s.DataUnitsWritten), HostReads: s.HostReads.Saturated(), HostWrites: s.HostWrites.Saturated(),
		BusyMinutes: s.BusyMinutes.Saturated(), PowerCycles: s.PowerCycles.Saturated(), PowerOnHours: s.PowerOnHours.Saturated(),
		UnsafeShutdowns: s.UnsafeShutdowns.Saturated(), MediaErrors: s.MediaErrors.Saturated(), ErrorEntries: s.ErrorEntries.Saturated(),
	}
}

// temperatureText is a temperature that a controller reports, if it does.
func temperatureText(celsius *int) string {
	if celsius == nil {
		return "temperature not reported"
	}
	return fmt.Sprintf("%d degrees Celsius", *celsius)
}

func (v *smartView) text(w io.Writer) {
	state := "good"
	if len(v.Warnings) > 0 {
		state = strings.Join(v.Warnings, ", ")
	}
	row(w, "controller", v.Controller)
	row(w, "health", state)
	row(w, "temperature", temperatureText(v.Temperature))
	row(w, "spare blocks left", fmt.Sprintf("%d %%, warns below %d %%", v.Spare, v.SpareThreshold))
	row(w, "life used", fmt.Sprintf("%d %%", v.Used))
	row(w, "read", fmt.Sprintf("%s in %d commands", humanBytes(v.BytesRead), v.HostReads))
	row(w, "written", fmt.Sprintf("%s in %d commands", humanBytes(v.BytesWritten), v.HostWrites))
	row(w, "busy", fmt.Sprintf("%d minutes", v.BusyMinutes))
	row(w, "power on", fmt.Sprintf("%d hours, %d times", v.PowerOnHours, v.PowerCycles))
	row(w, "unsafe shutdowns", v.UnsafeShutdowns)
	row(w, "media errors", v.MediaErrors)
	row(w, "error log entries", v.ErrorEntries)
}

// humanBytes is size.Human of a counter that may not fit it.
func humanBytes(n uint64) string { return size.Human(int64(min(n, 1<<63-1))) }

// logFlags are the flags of nvme log.
type logFlags struct {
	page  string
	ns    uint32
	bytes int
	most  int
}

func (c *cli) nvmeLogCommand() *cobra.Command {
	f := logFlags{page: "error", bytes: 512, most: 16}
	cmd := &cobra.Command{
		Use: "log " + controllerArg, Short: "A log page of a controller: errors, firmware, or any page in hexadecimal", Args: cobra.ExactArgs(1),
		Example: `  blobcli nvme log 0000:01:00.0
  blobcli nvme log 0000:01:00.0 --page firmware
  blobcli nvme log 0000:01:00.0 --page 0xc0 --bytes 4096`,
		RunE: func(_ *cobra.Command, args []string) error {
			return c.withController(args[0], func(ctrl *nvme.Controller) error { return c.nvmeLog(ctrl, &f) })
		},
	}
	cmd.Flags().StringVar(&f.page, "page", f.page, "error, firmware, or the number of a page")
	cmd.Flags().Uint32Var(&f.ns, "ns", f.ns, "namespace of a page given by number; without it the page is the controller's")
	cmd.Flags().IntVar(&f.bytes, "bytes", f.bytes, "how much of a page given by number, a multiple of 4")
	cmd.Flags().IntVar(&f.most, "entries", f.most, "how many errors at most")
	return cmd
}

func (c *cli) nvmeLog(ctrl *nvme.Controller, f *logFlags) error {
	switch f.page {
	case "error":
		return c.errorLog(ctrl, f.most)
	case "firmware":
		return c.firmwareLog(ctrl)
	}
	id, err := strconv.ParseUint(f.page, 0, 8)
	if err != nil {
		return usagef("--page %q: want error, firmware or a number from 0 to 255", f.page)
	}
	const mostBytes = 1 << 20
	if f.bytes <= 0 || f.bytes%4 != 0 || f.bytes > mostBytes {
		return usagef("--bytes %d: want a multiple of 4 up to %d", f.bytes, mostBytes)
	}
	page := make([]byte, f.bytes)
	if err := ctrl.LogPage(uint8(id), cmp.Or(f.ns, spec.BroadcastNSID), 0, page, true); err != nil {
		return err
	}
	v := struct {
		Page  uint64 `json:"page"`
		Bytes string `json:"bytes"` // hexadecimal
	}{id, hex.EncodeToString(page)}
	return c.print(v, func(w io.Writer) { fmt.Fprint(w, hex.Dump(page)) })
}

// loggedError is the JSON of an error of nvme log.
type loggedError struct {
	Count     uint64 `json:"count"`
	Queue     uint16 `json:"queue"`
	Command   uint16 `json:"command"`
	Status    string `json:"status"`
	Namespace uint32 `json:"namespace"`
	LBA       uint64 `json:"lba"`
}

func (c *cli) errorLog(ctrl *nvme.Controller, most int) error {
	if most < 1 || most > 256 {
		return usagef("--entries %d: want 1 to 256", most)
	}
	entries, err := ctrl.ErrorLog(most)
	if err != nil {
		return err
	}
	list := []loggedError{}
	for _, e := range entries {
		list = append(list, loggedError{e.Count, e.SQID, e.CID, e.Status().String(), e.NSID, e.LBA})
	}
	return c.print(list, func(w io.Writer) {
		if len(list) == 0 {
			row(w, "no errors are logged")
			return
		}
		row(w, "COUNT", "QUEUE", "COMMAND", "NAMESPACE", "LBA", "STATUS")
		for _, e := range list {
			row(w, e.Count, e.Queue, e.Command, e.Namespace, e.LBA, e.Status)
		}
	})
}

func (c *cli) firmwareLog(ctrl *nvme.Controller) error {
	s, err := ctrl.FirmwareSlots()
	if err != nil {
		return err
	}
	type slot struct {
		Slot     int    `json:"slot"`
		Revision string `json:"revision"`
		Active   bool   `json:"active"`
	}
	list := []slot{}
	for n := 1; n <= len(s.FRS); n++ {
		if rev := s.Slot(n); rev != "" {
			list = append(list, slot{n, rev, n == int(s.AFI&7)})
		}
	}
	return c.print(list, func(w io.Writer) {
		row(w, "SLOT", "REVISION", "ACTIVE")
		for _, v := range list {
			row(w, v.Slot, v.Revision, v.Active)
		}
	})
}
