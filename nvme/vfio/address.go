package vfio

import (
	"fmt"
	"strconv"
	"strings"
)

// Address is where a function sits on PCI.
type Address struct {
	Domain           uint32
	Bus, Device, Fun uint8
}

// ParseAddress reads domain:bus:device.function in hexadecimal, as lspci -D prints it; without a domain it is 0000.
func ParseAddress(s string) (Address, error) {
	bad := fmt.Errorf("%q is not a PCI address like 0000:01:00.0: %w", s, ErrNotFound)
	domain, rest := "0", s
	if strings.Count(s, ":") == 2 {
		domain, rest, _ = strings.Cut(s, ":")
	}
	bus, rest, _ := strings.Cut(rest, ":")
	dev, fun, _ := strings.Cut(rest, ".") // what is missing is no number
	var v [4]uint64
	for i, f := range []struct {
		text   string
		digits int
		limit  uint64
	}{{domain, 8, 1<<32 - 1}, {bus, 2, 0xff}, {dev, 2, 0x1f}, {fun, 1, 7}} {
		n, err := strconv.ParseUint(f.text, 16, 32)
		if err != nil || len(f.text) > f.digits || n > f.limit {
			return Address{}, bad
		}
		v[i] = n
	}
	return Address{Domain: uint32(v[0]), Bus: uint8(v[1]), Device: uint8(v[2]), Fun: uint8(v[3])}, nil
}

// String is the name that sysfs uses.
func (a Address) String() string {
	return fmt.Sprintf("%04x:%02x:%02x.%d", a.Domain, a.Bus, a.Device, a.Fun)
}
