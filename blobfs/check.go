package blobfs

import (
	"errors"
	"fmt"

	"github.com/blobkv/blobkv/blobstore"
)

// Report is what Check found. Findings holds those of the store and of the file system.
type Report struct {
	blobstore.Report
	Files   int64
	Dirs    int64 // the root included
	Bytes   int64 // sum of the files' lengths
	Orphans int64 // files without a name, which the next mount for writing removes
	Foreign int64 // blobs that belong to somebody else; the journal is not counted
}

// Check examines the store and, if it holds one, the file system on a device, without changing anything: every name
// leads to one blob and from the root, every length fits its clusters. Damage is a finding; an error means that the check
// could not be made. A store of another type is checked as a store.
func Check(dev *blobstore.Device, o blobstore.CheckOptions) (*Report, error) {
	below, err := blobstore.Check(dev, o)
	report := &Report{Report: below}
	if err != nil || below.Info.Type != StoreType {
		return report, fromStore(err)
	}
	store, err := blobstore.Open(dev, blobstore.OpenOptions{ReadOnly: true})
	if err != nil {
		return report, fromStore(err)
	}
	err = report.addTree(store)
	return report, errors.Join(err, fromStore(store.Close()))
}

// addTree checks the file system of an open store.
func (r *Report) addTree(store *blobstore.Store) error {
	s, err := scanStore(store)
	if errors.Is(err, ErrCorrupt) {
		r.Findings = append(r.Findings, blobstore.Finding{Severity: blobstore.SeverityError, Blob: RootID, Err: err})
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", store.Device().Name(), err)
	}
	r.Files, r.Dirs, r.Bytes, r.Orphans = s.files, int64(len(s.dirs)), s.bytes, int64(len(s.orphans))
	r.Findings = append(r.Findings, s.findings...)
	for _, id := range s.orphans {
		r.note(id, "file without a name, removed at the next mount for writing")
	}
	journal := store.Info().Journal
	for _, id := range s.foreign {
		if id != journal {
			r.Foreign++
			r.note(id, "not part of the file system")
		}
	}
	return nil
}

// note adds a finding that is no damage.
func (r *Report) note(id blobstore.BlobID, text string) {
	r.Findings = append(r.Findings, blobstore.Finding{Severity: blobstore.SeverityInfo, Blob: id, Err: errors.New(text)})
}
