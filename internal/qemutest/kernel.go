package qemutest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// findKernel returns the folder of an unpacked kernel package, downloading it when it is not there yet.
func findKernel(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "blobkv-qemutest")
	if have, _ := filepath.Glob(filepath.Join(cache, "linux-image-*", "boot", "vmlinuz-*")); len(have) > 0 {
		return filepath.Dir(filepath.Dir(have[len(have)-1])), nil
	}
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%s: %w: a Debian kernel (package %s) is booted; without Debian's tools set QEMUTEST_KERNEL to a kernel "+
				"image, and QEMUTEST_MODULES to the folder of its modules", tool, ErrMissing, kernelFrom)
		}
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("a folder for the kernel: %w", err)
	}
	return unpackKernel(ctx, cache)
}

var kernelPackage = regexp.MustCompile(`Depends: (linux-image-\S+)`)

// kernelName is the package that the one without a version stands for.
func kernelName(ctx context.Context) (string, error) {
	for range 2 {
		out, err := exec.CommandContext(ctx, "apt-cache", "depends", kernelFrom).Output()
		if name := kernelPackage.FindSubmatch(out); err == nil && name != nil {
			return string(name[1]), nil
		}
		if err := run(ctx, "", "apt-get", "update"); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("package %s: %w, and apt-cache does not know it", kernelFrom, ErrMissing)
}

// unpackKernel downloads into a folder of its own, so that a broken download is never taken for a kernel.
func unpackKernel(ctx context.Context, cache string) (folder string, err error) {
	name, err := kernelName(ctx)
	if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := os.Chmod(work, 0o777); err != nil { // apt downloads as a user of its own
		return "", err
	}
	if err := aptGet(ctx, work, "download", name); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil || len(debs) != 1 {
		return "", fmt.Errorf("%d packages downloaded for %s: %w", len(debs), name, ErrMissing)
	}
	if err := run(ctx, work, "dpkg-deb", "-x", debs[0], "unpacked"); err != nil {
		return "", err
	}
	folder = filepath.Join(cache, name)
	return folder, os.Rename(filepath.Join(work, "unpacked"), folder)
}
