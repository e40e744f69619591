package crashbdev

import "math/rand/v2"

// Mode says what a power cut does to the writes that no flush has covered.
type Mode uint8

// The modes.
const (
	Random      Mode = iota // each is lost, kept or torn, in any order; how likely that is also depends on the seed
	LoseAll                 // all are lost
	KeepAll                 // all landed, in order
	ReorderOnly             // all landed whole, in any order
	TornOnly                // all landed in order, many of them only in part
)

// String names the mode.
func (m Mode) String() string {
	names := [...]string{"random", "lose all", "keep all", "reorder only", "torn only"}
	if int(m) < len(names) {
		return names[m]
	}
	return "unknown mode"
}

// Modes lists all modes, for tests that try each.
func Modes() []Mode { return []Mode{Random, LoseAll, KeepAll, ReorderOnly, TornOnly} }

// Cut returns a new disk in a state that the media may be in if the power is cut now, drawn from the seed. Writes in
// flight count as unflushed. The disk itself goes on as if nothing had happened; any goroutine may call Cut at any
// time.
func (d *Disk) Cut(mode Mode, seed uint64) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.durable.Clone()
	c := newCutter(mode, seed)
	for _, i := range c.order(len(d.cache.entries)) {
		c.land(m, d.cache.grain, d.cache.entries[i])
	}
	o := d.options
	o.Size = m.size
	return fromImage(m, o)
}

// CutKeeping is Cut with the fate of each unflushed write decided by the caller instead of drawn: those that kept accepts
// have landed whole, in the order of their submission, the others are lost. i counts them from 0 to Unflushed()-1. Nobody
// may use the disk between Unflushed and this call if the number matters.
func (d *Disk) CutKeeping(kept func(i int) bool) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.durable.Clone()
	for i, e := range d.cache.entries {
		if kept(i) {
			d.cache.land(m, e, nil)
		}
	}
	o := d.options
	o.Size = m.size
	return fromImage(m, o)
}

// cutter draws the fate of each unflushed write.
type cutter struct {
	rng     *rand.Rand
	lost    float64 // probability that a write is lost
	torn    float64 // that one that is not lost is torn
	shuffle bool
}

func newCutter(mode Mode, seed uint64) *cutter {
	c := &cutter{rng: rand.New(rand.NewPCG(seed, uint64(mode)))}
	switch mode {
	case LoseAll:
		c.lost = 1
	case KeepAll:
	case ReorderOnly:
		c.shuffle = true
	case TornOnly:
		c.torn = 0.75
	default:
		c.drawOdds()
	}
	return c
}

// drawOdds picks among extremes and mixtures: a bug may need one write lost among many kept, or the reverse.
func (c *cutter) drawOdds() {
	odds := [...]float64{0, 0.05, 0.5, 0.95, c.rng.Float64()}
	c.lost = odds[c.rng.IntN(len(odds))]
	c.torn = odds[c.rng.IntN(len(odds))]
	c.shuffle = c.rng.IntN(2) == 0
}

// order is the order in which n writes land.
func (c *cutter) order(n int) []int {
	if c.shuffle {
		return c.rng.Perm(n)
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

// land lets an entry meet its fate.
func (c *cutter) land(m *Image, g grain, e *entry) {
	switch {
	case c.rng.Float64() < c.lost:
	case c.rng.Float64() < c.torn:
		g.land(m, e, c.tear(g.units(e)))
	default:
		g.land(m, e, nil)
	}
}

// tear draws which of n units of a write land: the first ones, the last ones, all but one run, or any.
func (c *cutter) tear(n int64) func(unit int64) bool {
	a, b := c.rng.Int64N(n+1), c.rng.Int64N(n+1)
	a, b = min(a, b), max(a, b)
	switch c.rng.IntN(4) {
	case 0:
		return func(u int64) bool { return u < b }
	case 1:
		return func(u int64) bool { return u >= a }
	case 2:
		return func(u int64) bool { return u < a || u >= b }
	default:
		// One draw per unit, whatever land asks: a unit that spans several blocks lands whole or not at all.
		landed := make([]bool, n)
		for i := range landed {
			landed[i] = c.rng.IntN(2) == 0
		}
		return func(u int64) bool { return landed[u] }
	}
}
