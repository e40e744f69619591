package qemutest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	emulator     = "qemu-system-x86_64"
	emulatorFrom = "qemu-system-x86" // package
	kernelFrom   = "linux-image-amd64"
	installTime  = 5 * time.Minute
)

// Tools are what a boot needs.
type Tools struct {
	QEMU    string // path of the emulator
	Kernel  string // path of the kernel's image
	Modules string // folder with its modules, searched to any depth; "" if they are built in
}

// Find looks for QEMU and for a Debian kernel, which is unpacked into a cache folder and never installed. Run as root on a
// Debian machine it installs QEMU and downloads the kernel; elsewhere its error says what to install.
// QEMUTEST_KERNEL names another kernel image, with its modules in the folder QEMUTEST_MODULES or built in.
func Find(ctx context.Context) (Tools, error) {
	ctx, cancel := context.WithTimeout(ctx, installTime)
	defer cancel()
	path, err := findEmulator(ctx)
	if err != nil {
		return Tools{}, err
	}
	if own := os.Getenv("QEMUTEST_KERNEL"); own != "" {
		return Tools{path, own, os.Getenv("QEMUTEST_MODULES")}, nil
	}
	folder, err := findKernel(ctx)
	if err != nil {
		return Tools{}, err
	}
	images, err := filepath.Glob(filepath.Join(folder, "boot", "vmlinuz-*"))
	if err != nil || len(images) == 0 {
		return Tools{}, fmt.Errorf("no kernel image in %s: %w", folder, ErrMissing)
	}
	return Tools{path, images[0], folder}, nil
}

// canInstall tells whether packages can be installed without asking anybody.
func canInstall() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && runtime.GOOS == "linux" && os.Geteuid() == 0
}

func findEmulator(ctx context.Context) (string, error) {
	path, err := exec.LookPath(emulator)
	if err == nil {
		return path, nil
	}
	if !canInstall() {
		return "", fmt.Errorf("%s: %w; on Debian, `apt-get install %s` as root gives it, and running this as root does that by itself",
			emulator, ErrMissing, emulatorFrom)
	}
	if err := aptGet(ctx, "", "install", "-y", "--no-install-recommends", emulatorFrom); err != nil {
		return "", err
	}
	return exec.LookPath(emulator)
}

// aptGet runs apt-get, and once more after an update when that fails.
func aptGet(ctx context.Context, folder string, args ...string) error {
	err := run(ctx, folder, "apt-get", args...)
	if err == nil {
		return nil
	}
	if update := run(ctx, folder, "apt-get", "update"); update != nil {
		return fmt.Errorf("%w, and then: %w", err, update)
	}
	return run(ctx, folder, "apt-get", args...)
}

// run runs a program and returns what it said when it fails.
func run(ctx context.Context, folder, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, out)
	}
	return nil
}
