package blobstore

import (
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/blobkv/blobkv/bdev"
)

// Severity grades a Finding.
type Severity uint8

// The grades of findings.
const (
	// SeverityInfo is worth knowing and harms nothing.
	SeverityInfo Severity = iota
	// SeverityWarning is damage that no blob depends on.
	SeverityWarning
	// SeverityError is damage to a blob or to the store.
	SeverityError
)

// String is the grade in one lower-case word.
func (s Severity) String() string {
	switch s {
	case SeverityInfo:
		return "info"
	case SeverityWarning:
		return "warning"
	}
	return "error"
}

// MarshalText makes the grade a word in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing a check has to say.
type Finding struct {
	Severity Severity
	Blob     BlobID // the blob concerned, 0 if none
	Err      error  // what is wrong; a *CorruptError in its chain says where
}

func (f Finding) String() string {
	if f.Blob != 0 {
		return fmt.Sprintf("%v: blob %v: %v", f.Severity, f.Blob, f.Err)
	}
	return fmt.Sprintf("%v: %v", f.Severity, f.Err)
}

// CheckOptions say how much Check reports while it runs. The zero value is a good choice.
type CheckOptions struct {
	Progress func(done, total int64) // in metadata pages
}

// Report is what Check found.
type Report struct {
	Device   string
	Info     Info // of the store as recovered in memory; empty if it cannot be opened
	Blobs    int  // that decode, those that are refused included
	Refused  int  // of these, intact but not supported
	Bad      int  // that do not decode
	Findings []Finding
}

// OK reports whether nothing is damaged. Infos and warnings do not count.
func (r *Report) OK() bool { return r.Errors() == 0 }

// Errors is the number of findings that are errors.
func (r *Report) Errors() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == SeverityError {
			n++
		}
	}
	return n
}

// Print writes every finding on a line of its own, then a summary.
func (r *Report) Print(w io.Writer) error {
	p := printer{w: w}
	for _, f := range r.Findings {
		p.line("%v", f)
	}
	verdict := "OK"
	if !r.OK() {
		verdict = "DAMAGED"
	}
	p.line("%s: %d blobs, %d refused, %d bad, %d findings: %s", r.Device, r.Blobs, r.Refused, r.Bad, len(r.Findings), verdict)
	return p.err
}

// Check reads all metadata of a store and reports everything that is wrong with it. It changes nothing, also not a store that
// has to be recovered: that happens in memory. The error is that of a device that cannot be read; a device that holds
// no store, or a damaged one, is a finding.
func Check(dev *bdev.Device, o CheckOptions) (Report, error) {
	c := &checker{dev: dev, r: Report{Device: dev.Name()}}
	err := c.fatal(c.run(o))
	sort.SliceStable(c.r.Findings, func(i, j int) bool { return c.r.Findings[i].Blob < c.r.Findings[j].Blob })
	return c.r, err
}

func (c *checker) run(o CheckOptions) error {
	super, err := readSuper(c.dev, legalStates)
	if err != nil {
		return err
	}
	c.superblock(&super)
	// With our dirty version the metadata in place is the state of a checkpoint, possibly a half-written one: only
	// recovery can tell, which openStore runs.
	if super.version != versionDirty && !super.torn {
		if err := c.region(&super, o); err != nil {
			return err
		}
	}
	return c.openStore()
}

// checker collects the findings of one Check.
type checker struct {
	dev  *bdev.Device
	r    Report
	seen map[string]bool // texts of findings, so that two ways to the same one count once
}

func (c *checker) find(s Severity, id BlobID, err error) {
	if c.seen == nil {
		c.seen = make(map[string]bool)
	}
	if text := fmt.Sprint(id, err); !c.seen[text] {
		c.seen[text] = true
		c.r.Findings = append(c.r.Findings, Finding{s, id, err})
	}
}

// fatal turns what the device holds into a finding; what the device refuses stays an error.
func (c *checker) fatal(err error) error {
	for _, kind := range []error{ErrNotBlobstore, ErrNewerVersion, ErrUnsupported, ErrTruncated, ErrCorrupt} {
		if errors.Is(err, kind) {
			c.find(SeverityError, 0, err)
			return nil
		}
	}
	return err
}

func (c *checker) superblock(s *superblock) {
	if s.torn {
		c.find(SeverityWarning, 0, corruptAt(c.dev, superCRCOffset, "superblock: crc", "that of its own fields", "that of another state: a torn write"))
	}
	if s.clean != 1 {
		c.find(SeverityInfo, 0, fmt.Errorf("the store was not closed cleanly; checked as recovery leaves it"))
	}
	b := make([]byte, superSize)
	if c.dev.Read(b, 0) == nil && firstNonZero(b[superFields:superCRCOffset], 0) >= 0 {
		off := superFields + firstNonZero(b[superFields:superCRCOffset], 0)
		c.find(SeverityWarning, 0, corruptAt(c.dev, int64(off), "superblock: reserved bytes", "zeros", fmt.Sprintf("%#02x", b[off])))
	}
}

// region reads every page of the metadata region and compares the masks of a clean store with the blobs.
func (c *checker) region(super *superblock, o CheckOptions) error {
	m, err := loadMetadata(c.dev, super, loadOptions{masks: super.clean == 1, full: true, progress: o.Progress})
	if err != nil {
		return err
	}
	for _, f := range m.findings {
		c.find(f.Severity, f.Blob, f.Err)
	}
	for _, b := range m.bad {
		c.find(SeverityError, b.id, b.err)
	}
	return nil
}

// openStore opens the store for reading, which recovers it in memory, and checks the result.
func (c *checker) openStore() error {
	s, err := Open(c.dev, OpenOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	c.r.Info = s.Info()
	s.mu.Lock()
	m := s.metadata()
	s.mu.Unlock()
	c.states(m)
	return s.Close()
}

// states checks the blobs against each other and counts them.
func (c *checker) states(m *metadata) {
	c.r.Blobs, c.r.Bad = m.blobs.len(), len(m.bad)
	for _, b := range m.bad {
		c.find(SeverityError, b.id, b.err)
	}
	for id, s := range m.blobs.all() {
		if s.refused != nil {
			c.r.Refused++
			c.find(refusalSeverity(s.refused), id, s.refused)
		}
		if parent, ok := s.parent(); ok && m.blobs.get(parent) == nil {
			c.find(SeverityError, id, fmt.Errorf("%w: its snapshot %v does not exist", ErrCorrupt, parent))
		}
	}
	if id := m.super.superBlob; id != noBlob && m.blobs.get(id) == nil {
		c.find(SeverityWarning, 0, corruptAt(c.dev, superOffSuperBlob, "superblock: super blob", "a blob that exists", id.String()))
	}
	for _, err := range verifyStates(m) {
		c.find(SeverityError, 0, err)
	}
}

// refusalSeverity: an unsupported blob is fine where it is supported, a damaged one is not.
func refusalSeverity(err error) Severity {
	if errors.Is(err, ErrUnsupportedBlob) {
		return SeverityInfo
	}
	return SeverityError
}

// verifyStates checks what must hold between a store's blobs and its masks whatever happened before: every cluster and page
// of a blob is in use, no two sound blobs share one, and nothing lies outside the data area.
func verifyStates(m *metadata) []error {
	v := verifier{m: m, clusters: make(map[uint32]BlobID), pages: make(map[uint32]BlobID)}
	first, end := uint32(m.super.mdClusters()), uint32(m.super.clusters())
	for id, s := range m.blobs.all() {
		eachCluster(s, func(c clusterIndex) {
			v.claim(id, "cluster", uint32(c), first, end, v.clusters, &m.usedClusters)
		})
		for p := range s.allPages() {
			v.claim(id, "metadata page", uint32(p), 0, m.super.md.length, v.pages, &m.usedPages)
		}
	}
	return v.errs
}

// verifier remembers which blob claimed what.
type verifier struct {
	m               *metadata
	clusters, pages map[uint32]BlobID
	errs            []error
}

// claim notes that blob id holds number n of its kind, and what is wrong with that.
func (v *verifier) claim(id BlobID, kind string, n, first, end uint32, owners map[uint32]BlobID, used *bitmap) {
	other, taken := owners[n]
	owners[n] = id
	switch {
	case n < first || n >= end:
		v.fail("blob %v: %s %d is outside %d to %d", id, kind, n, first, end)
	case !used.test(int(n)):
		v.fail("blob %v: %s %d is not marked as used", id, kind, n)
	case taken && (v.m.blobs.get(id).refused == nil || v.m.blobs.get(other).refused == nil):
		v.fail("blobs %v and %v share %s %d", other, id, kind, n)
	}
}

func (v *verifier) fail(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...))
}
