package vfio

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Holder is one reason why a controller cannot be taken from its driver.
type Holder struct {
	Device string // the block device or device node: nvme0n1p2, /dev/vfio/7
	How    string // "mounted on /home", "swap", "held by dm-0 (vg-root)", "open in process 12 (postgres)", "claimed by the kernel"
}

func (d Holder) String() string { return d.Device + " is " + d.How }

// Holders lists who uses the namespaces of a controller: mounts, swap, volume managers, processes that have a device open,
// and anything else that keeps the kernel from opening one exclusively. It changes nothing.
func (h *Host) Holders(address string) ([]Holder, error) {
	c, err := h.Controller(address)
	if err != nil {
		return nil, err
	}
	held, claims := h.holders(c)
	return held, claims.Close()
}

// claims keeps devices from being mounted or claimed by others until it is closed.
type claims []io.Closer

func (c claims) Close() error {
	var err error
	for _, d := range c {
		err = errors.Join(err, d.Close())
	}
	return err
}

// holders is Holders that returns the exclusively opened devices, so that nobody mounts one before it is gone.
func (h *Host) holders(c Controller) ([]Holder, claims) {
	var (
		held  []Holder
		taken claims
	)
	for _, ns := range c.Namespaces {
		before := len(held)
		for _, dev := range h.parts(ns.Name) {
			held = append(held, h.mounts(dev)...)
			held = append(held, h.swaps(dev)...)
			held = append(held, h.stacked(dev)...)
			held = append(held, h.openers("/dev/"+dev, dev)...)
		}
		claim, err := h.claim(h.path("dev", ns.Name))
		switch {
		case err == nil:
			taken = append(taken, claim)
		case errors.Is(err, syscall.EBUSY) && len(held) == before:
			held = append(held, Holder{ns.Name, "claimed by the kernel (a mount in another namespace, a RAID, a cache, an exported device)"})
		case !errors.Is(err, syscall.EBUSY) && !errors.Is(err, os.ErrNotExist):
			held = append(held, Holder{ns.Name, fmt.Sprintf("not to be opened, so nobody knows whether it is in use: %v", err)})
		}
	}
	return held, taken
}

// parts is a block device and its partitions.
func (h *Host) parts(name string) []string {
	list := []string{name}
	for _, p := range names(h.path("sys/class/block", name)) {
		if strings.HasPrefix(p, name) && exists(h.path("sys/class/block", name, p, "partition")) {
			list = append(list, p)
		}
	}
	return list
}

// mounts finds where a block device is mounted, by its number or, for file systems over several devices, by its name.
func (h *Host) mounts(dev string) (held []Holder) {
	f, err := os.Open(h.path("proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	defer f.Close()
	for _, m := range parseMounts(f) {
		if m.number == attribute(h.path("sys/class/block", dev, "dev")) || m.source == "/dev/"+dev {
			held = append(held, Holder{dev, "mounted on " + m.point})
		}
	}
	return held
}

// mount is a line of mountinfo: the device's number (259:1), where it is mounted, what was mounted.
type mount struct{ number, point, source string }

// parseMounts reads proc_pid_mountinfo(5). Lines that do not fit are passed over.
func parseMounts(r io.Reader) (list []mount) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if ok && len(left) >= 5 && len(right) >= 2 {
			list = append(list, mount{left[2], unescape(left[4]), unescape(right[1])})
		}
	}
	return list
}

// unescape replaces the octal escapes of blanks and backslashes in mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func (h *Host) swaps(dev string) []Holder {
	b, err := os.ReadFile(h.path("proc/swaps"))
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); len(f) > 0 && f[0] == "/dev/"+dev {
			return []Holder{{dev, "swap"}}
		}
	}
	return nil
}

// stacked lists the block devices that are built on this one: device mapper, RAID, bcache.
func (h *Host) stacked(dev string) (held []Holder) {
	for _, name := range names(h.path("sys/class/block", dev, "holders")) {
		how := "held by " + name
		if dm := attribute(h.path("sys/class/block", name, "dm/name")); dm != "" {
			how += " (" + dm + ")"
		}
		held = append(held, Holder{dev, how})
	}
	return held
}

// openers lists the processes that have a device node open, as far as this user may look.
func (h *Host) openers(node, device string) (held []Holder) {
	for _, pid := range names(h.path("proc")) {
		if n, rest := digits(pid); n == "" || rest != "" {
			continue
		}
		folder := h.path("proc", pid, "fd")
		open := slices.ContainsFunc(names(folder), func(fd string) bool {
			to, err := os.Readlink(filepath.Join(folder, fd))
			return err == nil && to == node
		})
		if open {
			held = append(held, Holder{device, fmt.Sprintf("open in process %s (%s)", pid, attribute(h.path("proc", pid, "comm")))})
		}
	}
	return held
}
