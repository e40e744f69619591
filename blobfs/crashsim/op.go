package crashsim

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is what an operation does.
type Kind uint8

// The kinds.
const (
	Create      Kind = iota // make Name, empty, and open it
	Open                    // another handle on Name
	Close                   // the oldest handle on Name
	Append                  // N bytes to Name
	Overwrite               // N bytes of Name at offset At
	Truncate                // Name to N bytes
	Preallocate             // N bytes behind the end of Name
	Sync                    // Name
	WriteBack               // SyncTo: start to write Name's bytes, promising nothing
	SyncDir                 // every name
	Rename                  // Name to To, over it if it exists
	Link                    // To is another name of Name
	Remove                  // Name
	Reuse                   // Name becomes To, to be written anew
	numKinds
)

// grammar says how each kind is written.
var grammar = [numKinds]struct {
	word string
	args string // which fields follow: Name, To, N and At by their first letters
}{
	Create:      {"create", "N"},
	Open:        {"open", "N"},
	Close:       {"close", "N"},
	Append:      {"append", "Nn"},
	Overwrite:   {"overwrite", "Nna"},
	Truncate:    {"truncate", "Nn"},
	Preallocate: {"preallocate", "Nn"},
	Sync:        {"sync", "N"},
	WriteBack:   {"writeback", "N"},
	SyncDir:     {"syncdir", ""},
	Rename:      {"rename", "NT"},
	Link:        {"link", "NT"},
	Remove:      {"remove", "N"},
	Reuse:       {"reuse", "NT"},
}

// Op is one operation. One that makes no sense at its time (a sync of a file that does not exist) does nothing.
type Op struct {
	Kind Kind
	Name string
	To   string
	N    int // bytes
	At   int // byte offset
}

// String is the form that ParseOp reads: "append /a 100", "overwrite /a 10 4096", "rename /a /b".
func (o Op) String() string {
	g := &grammar[o.Kind]
	words := []string{g.word}
	for _, arg := range g.args {
		switch arg {
		case 'N':
			words = append(words, o.Name)
		case 'T':
			words = append(words, o.To)
		case 'n':
			words = append(words, strconv.Itoa(o.N))
		case 'a':
			words = append(words, strconv.Itoa(o.At))
		}
	}
	return strings.Join(words, " ")
}

// ParseOp reads what String wrote.
func ParseOp(s string) (Op, error) {
	words := strings.Fields(s)
	for kind := range numKinds {
		g := &grammar[kind]
		if len(words) == 0 || words[0] != g.word {
			continue
		}
		if len(words)-1 != len(g.args) {
			return Op{}, fmt.Errorf("crashsim: %q: %s takes %d words", s, g.word, len(g.args))
		}
		o := Op{Kind: kind}
		for i, arg := range g.args {
			if err := o.set(arg, words[i+1]); err != nil {
				return Op{}, fmt.Errorf("crashsim: %q: %w", s, err)
			}
		}
		return o, nil
	}
	return Op{}, fmt.Errorf("crashsim: %q is no operation", s)
}

func (o *Op) set(arg rune, word string) (err error) {
	switch arg {
	case 'N':
		o.Name = word
	case 'T':
		o.To = word
	case 'n':
		o.N, err = strconv.Atoi(word)
	case 'a':
		o.At, err = strconv.Atoi(word)
	}
	return err
}

// ParseOps reads operations that semicolons separate.
func ParseOps(s string) ([]Op, error) {
	var ops []Op
	for part := range strings.SplitSeq(s, ";") {
		o, err := ParseOp(part)
		if err != nil {
			return nil, err
		}
		ops = append(ops, o)
	}
	return ops, nil
}

// FormatOps is what ParseOps reads.
func FormatOps(ops []Op) string {
	words := make([]string, len(ops))
	for i, o := range ops {
		words[i] = o.String()
	}
	return strings.Join(words, "; ")
}
