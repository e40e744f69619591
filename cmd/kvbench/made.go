package main

import (
	"errors"
	"os"
)

// madeFiles is what this run has made or was told to wipe: what an interrupted run removes again.
type madeFiles struct {
	paths []string
}

func (m *madeFiles) add(path string) { m.paths = append(m.paths, path) }

// addPlace notes a store. Devices and RAM leave no file.
func (m *madeFiles) addPlace(p place) {
	if p.Kind == placeImage || p.Kind == placeFolder {
		m.add(p.Path)
	}
}

// remove removes everything, newest first. A folder given by the user is never in the list, only what was put into it.
func (m *madeFiles) remove() error {
	var errs []error
	for i := len(m.paths) - 1; i >= 0; i-- {
		errs = append(errs, os.RemoveAll(m.paths[i]))
	}
	return errors.Join(errs...)
}
