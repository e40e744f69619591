package blobstore

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

// Finding is one thing a check has to say.
type Finding struct {
	Severity Severity
	Blob     BlobID // the blob concerned, 0 if none
	Err      error  // what is wrong; a *CorruptError says where
}
