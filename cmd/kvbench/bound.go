package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/blobkv/blobkv/bdev/open"
)

// deviceMargin is how much of the device's own write and flush a durable write may take.
const deviceMargin = 1.10

// deviceTime is how long the device's own write and flush is measured in each run.
const deviceTime = 2 * time.Second

// bound compares durable writes with what they would take at best: the time of the same engine where storage costs
// nothing, and the device's own write and flush. Times are in microseconds, each the median of its runs; what is divided
// is divided run by run, for the runs of one round were neighbours in time.
type bound struct {
	Time       float64  `json:"time_us"` // of one of our durable writes
	RAM        float64  `json:"ram_us"`
	Device     float64  `json:"device_us"`
	Bound      float64  `json:"bound_us"`
	OfBound    *float64 `json:"of_bound,omitempty"` // null with several threads, which share flushes
	MinOfBound float64  `json:"of_bound_min,omitempty"`
	MaxOfBound float64  `json:"of_bound_max,omitempty"`

	WALSync     float64  `json:"wal_sync_us"`                  // mean time of the engine's calls that sync its log
	HostWALSync float64  `json:"host_wal_sync_us,omitempty"`   // the same of the host's
	OfDevice    *float64 `json:"wal_sync_of_device,omitempty"` // null if no run could be divided
	MinOfDevice float64  `json:"wal_sync_of_device_min,omitempty"`
	MaxOfDevice float64  `json:"wal_sync_of_device_max,omitempty"`
}

// reference says whether a contender is there for the bound alone.
func (c *contender) reference() bool { return c.Engine == engineRAM || c.Engine == engineDevice }

// takesPart says whether a contender runs a row. The references run where durable writes and nothing else is measured,
// and the engine in RAM where the bound is: several threads share flushes.
func (c *contender) takesPart(p rowPlan) bool {
	switch c.Engine {
	case engineRAM:
		return p.log != logAny && p.threads == 1
	case engineDevice:
		return p.log != logAny
	}
	return true
}

// references are the contenders of --bound. The engine in RAM runs on Pebble's own file system in memory, which makes no
// system call: any other file system in RAM would loosen the bound by its own cost.
func (se *session) references(ours split, scratch place) []*contender {
	return []*contender{
		newContender(&se.settings, split{Engine: engineRAM, CacheSize: ours.CacheSize}, place{Kind: placeRAM}),
		newContender(&se.settings, split{Engine: engineDevice}, scratch),
	}
}

// scratchBeside is a new file of the same kind beside an image. What a store lies on is not written on.
func scratchBeside(p place, name string) (place, error) {
	if p.Kind != placeImage {
		return place{}, usagef("--bound measures on a file beside the store's, and %s is no image file: name one, or use --loop", p)
	}
	spec, err := open.Parse(p.Device)
	if err != nil {
		return place{}, err
	}
	spec.Path, spec.Size = filepath.Join(filepath.Dir(p.Path), name), 0
	p.Device, p.Path = spec.String(), spec.Path
	return p, nil
}

// planBound adds the references to the contenders. The scratch file is never kept.
func (se *session) planBound(ours place) error {
	if se.loop != nil {
		se.contenders = append(se.contenders, se.references(se.contenders[0].split, se.loop.scratch)...)
		return nil
	}
	scratch, err := scratchBeside(ours, fmt.Sprintf("kvbench-device-%d.img", os.Getpid()))
	if err != nil {
		return err
	}
	se.cleanup = append(se.cleanup, func() error { return ignoreNotExist(os.Remove(scratch.Path)) })
	se.contenders = append(se.contenders, se.references(se.contenders[0].split, scratch)...)
	return nil
}

// boundRow holds our durable writes against their bound.
func (se *session) boundRow(p rowPlan, all []outcome) row {
	r := se.newRow(p, se.contenders[0])
	r.Bound = &bound{}
	byEngine := map[string][]measurement{}
	for i, c := range se.contenders {
		if c.Engine == engineHostFS || !c.takesPart(p) {
			continue
		}
		if all[i].lost != "" {
			r.Note = "no bound: " + c.Engine + " was lost"
			return r
		}
		byEngine[c.Engine] = all[i].runs
	}
	r.Bound.fill(byEngine[engineBlobKV], byEngine[engineRAM], byEngine[engineDevice])
	if best := se.bestHost(all); best >= 0 {
		r.Bound.HostWALSync = middle(all[best].runs, (*measurement).walSync)
	}
	return r
}

// fill compares the runs; ram is empty where there is no bound.
func (b *bound) fill(ours, ram, device []measurement) {
	b.Time, b.WALSync = middle(ours, (*measurement).timePerOp), middle(ours, (*measurement).walSync)
	b.Device = middle(device, (*measurement).timePerOp)
	var ofBound, ofDevice []float64
	for i := range min(len(ours), len(device)) {
		d := device[i].timePerOp()
		if sync := ours[i].walSync(); d > 0 && sync > 0 {
			ofDevice = append(ofDevice, sync/d)
		}
		if i < len(ram) {
			ofBound = append(ofBound, ours[i].timePerOp()/(ram[i].timePerOp()+deviceMargin*d))
		}
	}
	b.OfDevice, b.MinOfDevice, b.MaxOfDevice = medianAndSpread(ofDevice)
	if b.OfBound, b.MinOfBound, b.MaxOfBound = medianAndSpread(ofBound); b.OfBound != nil {
		b.RAM = middle(ram, (*measurement).timePerOp)
		b.Bound = b.RAM + deviceMargin*b.Device
	}
}

// middle is the median of a figure, the larger of two.
func middle(runs []measurement, of func(*measurement) float64) float64 {
	var values []float64
	for i := range runs {
		values = append(values, of(&runs[i]))
	}
	if mid, _, _ := medianAndSpread(values); mid != nil {
		return *mid
	}
	return 0
}

// medianAndSpread sorts; of an even number the larger of the two in the middle counts. Of nothing it is nil.
func medianAndSpread(values []float64) (mid *float64, low, high float64) {
	if len(values) == 0 {
		return nil, 0, 0
	}
	slices.Sort(values)
	return &values[len(values)/2], values[0], values[len(values)-1]
}

// boundLines are the lines of a table.
func boundLines(r *row) []string {
	if r.Note != "" {
		return []string{fmt.Sprintf("%-16s %s", "bound", r.Note)}
	}
	var lines []string
	if b := r.Bound; b.OfBound != nil {
		lines = append(lines, fmt.Sprintf("%-16s ours %s us, at most %s (ramfs %s + %.2f of the device's %s): %.2f of it%s, %s",
			"bound", micros(b.Time), micros(b.Bound), micros(b.RAM), deviceMargin, micros(b.Device), *b.OfBound,
			spreadText(r.Runs, b.MinOfBound, b.MaxOfBound), verdict(*b.OfBound <= 1)))
	}
	if b := r.Bound; b.OfDevice != nil {
		line := fmt.Sprintf("%-16s ours %s us on average, the device's write and flush %s: %.2f of it%s, at most %.2f %s",
			"log sync", micros(b.WALSync), micros(b.Device), *b.OfDevice, spreadText(r.Runs, b.MinOfDevice, b.MaxOfDevice),
			deviceMargin, verdict(*b.OfDevice <= deviceMargin))
		if b.HostWALSync > 0 {
			line += "; the host's " + micros(b.HostWALSync)
		}
		lines = append(lines, line)
	}
	return lines
}

func spreadText(runs int, low, high float64) string {
	if runs < 2 {
		return ""
	}
	return fmt.Sprintf(" (%.2f to %.2f in %d runs)", low, high, runs)
}

func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "NOT reached"
}
