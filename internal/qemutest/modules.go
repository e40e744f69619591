package qemutest

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is a kernel module, uncompressed.
type module struct {
	name  string
	bytes []byte
}

// loadModules reads modules and what they depend on from a kernel's folder, in the order in which they can be loaded.
// Optional ones have a ? in front: a kernel may have them built in, or not at all.
func loadModules(ctx context.Context, folder string, wanted []string) ([]module, error) {
	if folder == "" {
		return nil, nil
	}
	files := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); err == nil && ok && !d.IsDir() {
			files[canonical(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for kernel modules: %w", err)
	}
	l := loader{ctx: ctx, files: files}
	for _, name := range wanted {
		plain, optional := strings.CutPrefix(name, "?")
		if err := l.add(canonical(plain)); err != nil && (!optional || !errors.Is(err, ErrModule)) {
			return nil, err
		}
	}
	return l.list, nil
}

// canonical spells a module's name as its dependants do.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

type loader struct {
	ctx   context.Context
	files map[string]string
	list  []module
}

// add adds a module behind those it depends on.
func (l *loader) add(name string) error {
	if slices.ContainsFunc(l.list, func(m module) bool { return m.name == name }) {
		return nil
	}
	path, ok := l.files[name]
	if !ok {
		return fmt.Errorf("%s: %w", name, ErrModule)
	}
	delete(l.files, name) // a circle ends here
	b, err := l.read(path)
	if err != nil {
		return err
	}
	depends, err := dependencies(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, d := range depends {
		if err := l.add(canonical(d)); err != nil {
			return fmt.Errorf("%s needs %w", name, err)
		}
	}
	l.list = append(l.list, module{name, b})
	return nil
}

// read returns a module's bytes; Debian compresses them from version 13 on.
func (l *loader) read(path string) ([]byte, error) {
	if !strings.HasSuffix(path, ".xz") {
		return os.ReadFile(path)
	}
	out, err := exec.CommandContext(l.ctx, "xz", "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("unpacking %s with xz: %w", path, err)
	}
	return out, nil
}

// dependencies reads the section .modinfo, which holds key=value texts that each end in a zero.
func dependencies(b []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, nil
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for _, text := range strings.Split(string(info), "\x00") {
		if list, ok := strings.CutPrefix(text, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
