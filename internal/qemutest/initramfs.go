package qemutest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Image is an initial RAM disk with a program that the guest runs.
type Image struct {
	tools Tools
	path  string
}

// Guest paths.
const (
	guestProgram = "/program"
	guestModules = "/modules"
)

// NewImage packs a static program, which is process 1 as well and calls Init there, and kernel modules into an initial RAM
// disk in a folder of the caller's. Files are further ones, by their path in the guest.
func NewImage(ctx context.Context, tools Tools, folder, program string, modules []string, files map[string]string) (*Image, error) {
	list, err := loadModules(ctx, tools.Modules, modules)
	if err != nil {
		return nil, err
	}
	var a archive
	all := map[string]string{guestProgram: program, "/init": program}
	maps.Copy(all, files)
	for _, dir := range foldersOf(all) {
		a.add(dir, modeFolder|0o755, nil)
	}
	for i, m := range list { // the guest loads them in the order of their names
		a.add(fmt.Sprintf("modules/%02d-%s.ko", i, m.name), modeFile|0o644, m.bytes)
	}
	for to, from := range all {
		b, err := os.ReadFile(from)
		if err != nil {
			return nil, fmt.Errorf("a file for the guest: %w", err)
		}
		a.add(to[1:], modeFile|0o755, b)
	}
	initrd := filepath.Join(folder, "initrd")
	if err := os.WriteFile(initrd, a.end(), 0o644); err != nil {
		return nil, err
	}
	return &Image{tools, initrd}, nil
}

// foldersOf are the guest's folders, parents first: those that Init needs, and those of files.
func foldersOf(files map[string]string) []string {
	list := []string{"proc", "sys", "dev", "tmp", guestModules[1:]}
	for to := range files {
		for dir := path.Dir(to); dir != "/"; dir = path.Dir(dir) {
			list = append(list, dir[1:])
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

const (
	modeFolder = 0o040000
	modeFile   = 0o100000
)

// archive writes the kernel's initramfs format (newc, Documentation/driver-api/early-userspace/buffer-format.rst): a
// header of 13 numbers in hexadecimal behind the magic, the name with a zero, the content, each padded to 4 bytes.
type archive struct {
	b     bytes.Buffer
	inode int
}

func (a *archive) add(name string, mode int, content []byte) {
	a.inode++
	fmt.Fprintf(&a.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.b.WriteString(name)
	a.b.WriteByte(0)
	a.pad()
	a.b.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.b.Len()%4 != 0 {
		a.b.WriteByte(0)
	}
}

// end closes the archive and returns it.
func (a *archive) end() []byte {
	a.add("TRAILER!!!", 0, nil)
	return a.b.Bytes()
}
