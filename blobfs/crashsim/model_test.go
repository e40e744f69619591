package crashsim

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// modelCase is a history and trees that a cut after it may or may not leave.
type modelCase struct {
	name  string
	work  func(m *Model)
	legal []tree
	bad   []tree
}

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func one(name string, parts ...[]byte) tree { return tree{name: {1, bytes.Join(parts, nil)}} }

// synced makes a file of 10 synced bytes 'a'.
func synced(m *Model) fileID {
	id := m.create("/f")
	m.write(id, 0, fill(10, 'a'))
	m.syncBegins(id)
	m.synced(id)
	return id
}

var modelCases = []modelCase{
	{
		name:  "a synced file survives with every byte and its name",
		work:  func(m *Model) { synced(m) },
		legal: []tree{one("/f", fill(10, 'a'))},
		bad:   []tree{{}, one("/f"), one("/f", fill(9, 'a')), one("/f", fill(11, 'a')), one("/f", fill(9, 'a'), fill(1, 'b')), one("/g", fill(10, 'a'))},
	},
	{
		name:  "a name that was not synced may be there, with length 0",
		work:  func(m *Model) { m.write(m.create("/f"), 0, fill(10, 'a')) },
		legal: []tree{{}, one("/f")},
		bad:   []tree{one("/f", fill(10, 'a'))},
	},
	{
		name: "a sync under way leaves the old length or the new one with all its bytes",
		work: func(m *Model) {
			id := synced(m)
			m.write(id, 10, fill(5, 'b'))
			m.syncBegins(id)
		},
		legal: []tree{one("/f", fill(10, 'a')), one("/f", fill(10, 'a'), fill(5, 'b'))},
		bad:   []tree{one("/f", fill(10, 'a'), fill(4, 'b')), one("/f", fill(10, 'a'), fill(4, 'b'), fill(1, 0)), one("/f", fill(15, 'b'))},
	},
	{
		name: "an overwrite that was not synced keeps any of its bytes and none of others",
		work: func(m *Model) { m.write(synced(m), 2, fill(2, 'b')) },
		legal: []tree{
			one("/f", fill(10, 'a')), one("/f", fill(2, 'a'), fill(2, 'b'), fill(6, 'a')), one("/f", fill(2, 'a'), fill(1, 'b'), fill(7, 'a')),
		},
		bad: []tree{one("/f", fill(5, 'b'), fill(5, 'a')), one("/f", fill(3, 'a'), fill(1, 'c'), fill(6, 'a'))},
	},
	{
		name: "a gap is zeros",
		work: func(m *Model) {
			id := synced(m)
			m.write(id, 12, fill(2, 'b'))
			m.syncBegins(id)
			m.synced(id)
		},
		legal: []tree{one("/f", fill(10, 'a'), fill(2, 0), fill(2, 'b'))},
		bad:   []tree{one("/f", fill(10, 'a'), fill(2, 'x'), fill(2, 'b'))},
	},
	{
		name: "a truncation may come before its sync",
		work: func(m *Model) { m.truncate(synced(m), 4) },
		legal: []tree{
			one("/f", fill(10, 'a')), one("/f", fill(4, 'a')), one("/f", fill(4, 'a'), fill(6, 0)),
		},
		bad: []tree{one("/f", fill(5, 'a')), one("/f", fill(4, 0), fill(6, 'a'))},
	},
	{
		name:  "a rename is whole",
		work:  func(m *Model) { synced(m); m.rename("/f", "/g") },
		legal: []tree{one("/f", fill(10, 'a')), one("/g", fill(10, 'a'))},
		bad:   []tree{{}, {"/f": {1, fill(10, 'a')}, "/g": {1, fill(10, 'a')}}},
	},
	{
		name: "a rename over a file leaves one of them",
		work: func(m *Model) {
			synced(m)
			m.write(m.create("/g"), 0, fill(3, 'b'))
			m.dirSynced()
			m.rename("/f", "/g")
		},
		legal: []tree{{"/f": {1, fill(10, 'a')}, "/g": {2, nil}}, one("/g", fill(10, 'a'))},
		bad:   []tree{one("/f", fill(10, 'a')), one("/g"), {"/f": {1, fill(10, 'a')}, "/g": {1, fill(10, 'a')}}},
	},
	{
		name: "names go back in order",
		work: func(m *Model) {
			synced(m)
			m.link("/f", "/g")
			m.remove("/f")
			m.create("/h")
		},
		legal: []tree{
			one("/f", fill(10, 'a')), {"/f": {1, fill(10, 'a')}, "/g": {1, fill(10, 'a')}}, one("/g", fill(10, 'a')),
			{"/g": {1, fill(10, 'a')}, "/h": {2, nil}},
		},
		bad: []tree{
			{}, {"/f": {1, fill(10, 'a')}, "/h": {2, nil}}, {"/f": {1, fill(10, 'a')}, "/g": {2, fill(10, 'a')}},
		},
	},
	{
		name: "a sync of a directory keeps all before it, a sync of a file all before the last change of its name",
		work: func(m *Model) {
			m.create("/x")
			id := synced(m)
			m.create("/y")
			m.syncBegins(id)
			m.synced(id)
		},
		legal: []tree{{"/x": {2, nil}, "/f": {1, fill(10, 'a')}}, {"/x": {2, nil}, "/f": {1, fill(10, 'a')}, "/y": {3, nil}}},
		bad:   []tree{one("/f", fill(10, 'a'))},
	},
	{
		name: "files do not become one",
		work: func(m *Model) {
			m.create("/f")
			m.create("/g")
			m.dirSynced()
		},
		legal: []tree{{"/f": {1, nil}, "/g": {2, nil}}},
		bad:   []tree{{"/f": {1, nil}, "/g": {1, nil}}},
	},
}

// TestModel is the specification by examples.
func TestModel(t *testing.T) {
	for _, c := range modelCases {
		t.Run(c.name, func(t *testing.T) {
			m := newModel(tree{})
			c.work(&m)
			s := m.snapshot()
			m.remove(firstName(&m)) // what happens later is not known to a snapshot
			m.dirSynced()
			for _, left := range c.legal {
				require.NoError(t, s.judge(left), "%v", left)
			}
			for _, left := range c.bad {
				require.Error(t, s.judge(left), "%v", left)
			}
		})
	}
}

func firstName(m *Model) string {
	for name := range m.now() {
		return name
	}
	return ""
}
