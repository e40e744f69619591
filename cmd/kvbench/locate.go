package main

import (
	"os"
	"runtime"

	"github.com/blobkv/blobkv/bdev"
	"github.com/blobkv/blobkv/bdev/open"
)

// locate finds out what a device name means on this machine.
func locate(device string) (place, error) {
	spec, err := open.Parse(device)
	if err != nil {
		return place{}, usagef("--device: %v", err)
	}
	policy := bdev.PolicyAdaptive
	if spec.Policy != nil {
		policy = *spec.Policy
	}
	p := place{Kind: placeImage, Device: device, Path: spec.Path, Policy: policy.String()}
	switch {
	case spec.Controller != "":
		p.Kind = placeDevice
		return p, nil
	case spec.Path == "":
		p.Kind = placeRAM
		return p, nil
	}
	info, err := os.Stat(spec.Path)
	switch {
	case err != nil: // not there yet; opening it will tell more
	case info.IsDir():
		return place{}, usagef("--device: %s is a folder; name an image file in it", spec.Path)
	case !info.Mode().IsRegular():
		p.Kind = placeDevice
	}
	return p, nil
}

// defaultDevice names an image file for the backend that suits the platform.
func defaultDevice(path string) string {
	scheme := "file"
	if runtime.GOOS == "linux" {
		scheme = "aio"
	}
	return open.Spec{Scheme: scheme, Path: path}.String()
}
