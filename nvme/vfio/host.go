package vfio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Host is a machine's PCI bus. Any goroutine may call any method.
type Host struct {
	root   string                               // where /sys, /proc and /dev lie
	kernel kernel                               // device nodes
	write  func(path, value string) error       // sets a sysfs attribute, path as above
	claim  func(path string) (io.Closer, error) // opens a block device for nobody else (O_EXCL)
	check  func() error                         // whether the platform has vfio
}

// System is the machine that this process runs on.
func System() *Host {
	return &Host{root: "/", kernel: system{}, write: writeAttribute, claim: claimDevice, check: supported}
}

func writeAttribute(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// claimDevice opens a block device as a file system or a volume manager does; it fails when one of them, or another
// claimant, has it or a part of it, and keeps them away until it is closed.
func claimDevice(path string) (io.Closer, error) { return os.OpenFile(path, os.O_RDONLY|os.O_EXCL, 0) }

// path makes a path below the root.
func (h *Host) path(elem ...string) string {
	return filepath.Join(append([]string{h.root}, elem...)...)
}

// device is the sysfs folder of a PCI function.
func (h *Host) device(address string, elem ...string) string {
	return h.path(append([]string{"sys/bus/pci/devices", address}, elem...)...)
}

// attribute reads a sysfs attribute without its line end, "" where there is none.
func attribute(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number reads an attribute that holds a number, decimal or with 0x, otherwise if it cannot.
func number(path string, otherwise int64) int64 {
	n, err := strconv.ParseInt(attribute(path), 0, 64)
	if err != nil {
		return otherwise
	}
	return n
}

// target is the last element of what a link points to, "" where there is no link.
func target(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// names lists a folder, nothing where there is none.
func names(path string) []string {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil
	}
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.Name()
	}
	return list
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// set writes a sysfs attribute and says what a refusal means.
func (h *Host) set(path, value string) error {
	err := h.write(path, value)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("writing %q to %s: only root may; run it with sudo: %w: %w", value, path, ErrPermission, err)
	}
	return fmt.Errorf("writing %q to %s: %w: %w", value, path, ErrKernel, err)
}
