package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/blobkv/blobkv/internal/procstat"
	"github.com/blobkv/blobkv/internal/size"
)

// describe says on what the figures were made: machine, stores, workload, memory, and what limits their meaning.
func (se *session) describe() []string {
	lines := []string{"machine   " + machineText()}
	for _, c := range se.contenders {
		lines = append(lines, fmt.Sprintf("%-9s %s", c.Engine, se.contenderText(c)))
	}
	if se.VS != "" {
		lines = append(lines, "host      "+se.hostText())
	}
	lines = append(lines,
		fmt.Sprintf("workload  %s keys of %d bytes, values of %d bytes compressible to %.0f%%, %s, seed %d, threads %s",
			thousands(float64(se.Num)), se.KeySize, se.ValueSize, 100*se.CompressionRatio, se.Compression, se.Seed, threadsText(se.Threads)),
		"caches    "+se.cachesText())
	return lines
}

func machineText() string {
	text := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	if model := procstat.CPUModel(); model != "" {
		text += " " + model
	}
	if total, err := procstat.MemoryTotal(); err == nil {
		text += ", " + size.Human(total)
	}
	return fmt.Sprintf("%s, %s, %s %s/%s", text, procstat.Kernel(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (se *session) contenderText(c *contender) string {
	switch c.Engine {
	case engineRAM:
		return "the same Pebble on its own file system in memory, which makes no system call; block cache " + size.Human(c.CacheSize)
	case engineDevice:
		return fmt.Sprintf("%s on %s, policy %s, written before: one write of a log's record and one flush at a time", c.cfg.Place, c.fsName, c.cfg.Place.Policy)
	}
	text := fmt.Sprintf("%s on %s", c.cfg.Place, c.fsName)
	if c.cfg.Place.Policy != "" {
		text += ", policy " + c.cfg.Place.Policy
	}
	text += fmt.Sprintf("; block cache %s, memtables %s", size.Human(c.CacheSize), size.Human(int64(se.WriteBufferSize)))
	if c.Compressed > 0 {
		text += fmt.Sprintf(", cache of compressed blocks %s", size.Human(c.Compressed))
	}
	if c.PageCache > 0 {
		text += fmt.Sprintf(", page cache at most %s", size.Human(c.PageCache))
	}
	return text
}

// hostText says what the host's engine runs on, and ours beside it: file system, journal, device.
func (se *session) hostText() string {
	i := slices.IndexFunc(se.contenders, func(c *contender) bool { return c.Engine == engineHostFS })
	c := se.contenders[i]
	journal := c.mount.Journal
	if journal == "" {
		journal = "journal not known"
	}
	text := fmt.Sprintf("%s, %s, on %s", c.mount.Type, journal, c.mount.Source)
	if se.loop != nil {
		text += fmt.Sprintf("; both devices are loop devices of %v with direct I/O and without discard over files that were written in full, on %s", &se.Loop, se.loop.below)
	}
	return text
}

// cachesText says what rows find in the caches, and what bounds memory.
func (se *session) cachesText() string {
	text := "warm: each row finds what the one before left"
	if se.cold {
		text = "cold: page cache dropped and stores reopened before each row"
	}
	switch {
	case se.limited:
		text += fmt.Sprintf("; each engine in a memory cgroup of %v", &se.Memory)
	case se.Memory > 0:
		text += fmt.Sprintf("; --memory %v sizes the block caches only", &se.Memory)
	}
	return text
}

// farewell says where the stores are.
func (se *session) farewell() []string {
	var lines []string
	for _, c := range se.contenders {
		p := c.cfg.Place
		switch {
		case c.reference():
		case p.Kind == placeFolder:
			lines = append(lines, "The host's store is kept. Remove it with rm -r "+shellQuote(p.Path))
		case p.Kind == placeRAM:
		case p.Kind == placeDevice:
			lines = append(lines, "The store is kept; --destroy wipes it. Look into it:", "  "+blobcliCommand(p.Device))
		default:
			lines = append(lines, "The store is kept. Look into it:", "  "+blobcliCommand(p.Device), "Remove it with "+se.removeCommand(p))
		}
	}
	return lines
}

// removeCommand removes an image, with its folder if that was made for it.
func (se *session) removeCommand(p place) string {
	if se.Device == "" {
		return "rm -r " + shellQuote(filepath.Dir(p.Path))
	}
	return "rm " + shellQuote(p.Path)
}

// blobcliCommand is the command line that lists the store's files, runnable where kvbench was run: from the source tree
// with go run, otherwise with the installed binary.
func blobcliCommand(device string) string {
	tool := "blobcli"
	if _, err := os.Stat("cmd/blobcli"); err == nil {
		tool = "go run ./cmd/blobcli"
	}
	return fmt.Sprintf("%s -d %s ls /db", tool, shellQuote(device))
}

// shellQuote quotes a word where the shell would not take it as it is.
func shellQuote(s string) string {
	for _, c := range s {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '/' || c == '.' || c == '-' || c == '_' || c == ':' || c == '=' || c == ',' || c == '%':
		default:
			return "'" + replaceQuotes(s) + "'"
		}
	}
	return s
}

func replaceQuotes(s string) string {
	out := ""
	for _, c := range s {
		if c == '\'' {
			out += `'\''`
			continue
		}
		out += string(c)
	}
	return out
}
