package kv

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobkv/blobkv/vfsadapter"
)

// tableDamage is the error of a damaged table with its place.
type tableDamage struct {
	text string
	err  error // the engine's, whose own text names no device and ends in a remark for machines
}

func (d *tableDamage) Error() string { return d.text }
func (d *tableDamage) Unwrap() error { return d.err }

// placed adds what the engine does not know to an error about damage: the device, the place on it, and for a log what to do.
// Other errors it returns as they are.
func (db *DB) placed(err error) error {
	var placed *tableDamage
	if err == nil || errors.As(err, &placed) {
		return err
	}
	var log *vfsadapter.LogDamage
	if errors.As(err, &log) {
		return fmt.Errorf("%w: %w%s: changes that were durable cannot be read, and opening for writing would lose them for good. "+
			"ReadOnly reads all that was committed before: copy it into a new store, or go back to a copy of this one",
			ErrCorrupt, log, db.deviceOffset(log.Name, log.Offset))
	}
	table := pebble.ExtractDataCorruptionInfo(err)
	if table == nil {
		return err
	}
	return &tableDamage{
		text: fmt.Sprintf("%s: %s%s: %v", db.name, table.Path, db.deviceOffset(table.Path, blockOffset(table.Details)), table.Details),
		err:  err,
	}
}

// inBlock finds the offset of a block in a message of the engine, which has it nowhere else.
var inBlock = regexp.MustCompile(`block (\d+)/\d+`)

// blockOffset is where the damaged block of a table begins, in bytes; 0, where the table does, if the error does not say.
func blockOffset(err error) int64 {
	m := inBlock.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	off, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return off
}

// deviceOffset says where a byte of a file lies on the device, as the end of a phrase; nothing if the file is gone.
func (db *DB) deviceOffset(name string, off int64) string {
	in, err := db.fs.Stat(name)
	if err != nil {
		return ""
	}
	blob, err := db.fs.Store().Stat(in.ID)
	if err != nil {
		return ""
	}
	size := int64(db.fs.Store().ClusterSize())
	for _, e := range blob.Extents {
		if n := off/size - e.Logical; n >= 0 && n < e.Count && e.Physical > 0 {
			return fmt.Sprintf(", byte %d of the device", (e.Physical+n)*size+off%size)
		}
	}
	return ""
}
