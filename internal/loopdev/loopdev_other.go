//go:build !linux

package loopdev

import (
	"context"
	"fmt"
)

// Device is a loop device. There are none here.
type Device struct{ Path string }

// New is not available here.
func New(context.Context, string, int64) (*Device, error) {
	return nil, fmt.Errorf("%w on this system", ErrUnavailable)
}

// Close detaches the device.
func (*Device) Close() error { return nil }

// MountExt4 is not available here.
func (*Device) MountExt4(context.Context, string) (unmount func() error, err error) {
	return nil, fmt.Errorf("%w on this system", ErrUnavailable)
}

// FormatExt4 is not available here.
func FormatExt4(context.Context, string) error {
	return fmt.Errorf("%w on this system", ErrUnavailable)
}
