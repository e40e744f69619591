//go:build !linux

package open

// defaultScheme is what a bare path means: there is no AIO here.
const defaultScheme = schemeFile
