package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progressLine is one line at the bottom of a terminal that is written over and over. On anything but a terminal it is
// silent: logs should hold results, not motion.
type progressLine struct {
	mu      sync.Mutex
	w       io.Writer // nil when silent
	visible bool
}

func newProgressLine(w io.Writer) *progressLine {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &progressLine{w: w}
	}
	return &progressLine{}
}

const (
	clearLine    = "\r\x1b[K"
	maxLineWidth = 78
)

// clear takes the line away before something else is printed.
func (p *progressLine) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.visible {
		fmt.Fprint(p.w, clearLine)
		p.visible = false
	}
}

// stop clears the line for good: an engine that is being stopped may still have something to say.
func (p *progressLine) stop() {
	p.clear()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.w = nil
}

func (p *progressLine) show(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil {
		return
	}
	fmt.Fprint(p.w, clearLine+text[:min(len(text), maxLineWidth)])
	p.visible = true
}

// teller returns what turns the progress of one row into the line. Without bounds the row is being prepared.
func (p *progressLine) teller(benchmark, engine string, maxOps int64, limit time.Duration) func(progress) {
	if maxOps == 0 {
		p.show(fmt.Sprintf("%s %s: preparing", benchmark, engine))
	}
	return func(now progress) {
		p.show(progressText(benchmark, engine, maxOps, limit, now))
	}
}

// progressText shows the share of the row that is done, by operations or by time, whichever is further.
func progressText(benchmark, engine string, maxOps int64, limit time.Duration, now progress) string {
	share := 0.0
	if maxOps > 0 {
		share = float64(now.Ops) / float64(maxOps)
	}
	if limit > 0 {
		share = max(share, now.Seconds/limit.Seconds())
	}
	phase := fmt.Sprintf("%3.0f%%", 100*min(share, 1))
	if now.Phase == "draining" {
		phase = "draining"
	}
	return fmt.Sprintf("%s %s: %s  %s ops  %s ops/s  %.1fs", benchmark, engine, phase,
		thousands(float64(now.Ops)), thousands(perSecond(float64(now.Ops), now.Seconds)), now.Seconds)
}
