package kv

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/blobkv/blobkv/blobfs"
	"github.com/blobkv/blobkv/vfsadapter"
)

// checkAdvice ends the message of every refusal for damage.
const checkAdvice = "`blobcli check` lists all damage; ReadOnly may still read what is left"

// refuseDamage refuses to write to a file system that has lost something. The engine takes a file that it does not see
// for one that never was, and removes what the lost one spoke of.
func refuseDamage(fs *blobfs.FS, o *Options) error {
	if err := fs.Damage(); err != nil && !o.ReadOnly {
		return fmt.Errorf("%w: %w (%s)", ErrCorrupt, err, checkAdvice)
	}
	return nil
}

// checkExistence applies CreateIfMissing and ErrorIfExists before the engine writes anything, and says whether there is an
// engine.
func checkExistence(fs *blobfs.FS, adapter *vfsadapter.FS, o *Options) (exists bool, err error) {
	exists, err = engineExists(adapter)
	switch {
	case err != nil:
		return false, err
	case exists && o.ErrorIfExists:
		return true, ErrExists
	case exists:
		return true, nil
	}
	if err := refuseRemains(fs); err != nil {
		return false, err
	}
	if !o.CreateIfMissing {
		return false, fmt.Errorf("%w: the file system holds no key-value store; CreateIfMissing makes one", ErrNotStore)
	}
	return false, nil
}

func engineExists(fs *vfsadapter.FS) (bool, error) {
	if _, err := fs.Stat(storeDir); isNotExist(err) {
		return false, nil
	}
	desc, err := pebble.Peek(storeDir, fs)
	if isNotExist(err) {
		return false, nil // a marker without what it names; refuseRemains says so
	}
	if err != nil {
		return false, err
	}
	return desc.Exists, nil
}

// refuseRemains tells a file system without an engine from one whose engine has lost the file that says where it is.
func refuseRemains(fs *blobfs.FS) error {
	if err := fs.Damage(); err != nil {
		return fmt.Errorf("%w: no engine is found: %w (%s)", ErrCorrupt, err, checkAdvice)
	}
	files, err := fs.List(storeDir)
	if errors.Is(err, blobfs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		if !interruptedCreation(f.Name) {
			return fmt.Errorf("%w: no engine is found, but its file %s/%s (%s)", ErrCorrupt, storeDir, f.Name, checkAdvice)
		}
	}
	return nil
}

// interruptedCreation reports that a file may be there before the engine exists: a crash may have ended its creation.
func interruptedCreation(name string) bool {
	return name == "LOCK" || name == "MANIFEST-000001" || strings.HasPrefix(name, "temporary.")
}
