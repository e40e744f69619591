//go:build !unix && !windows

package filebdev

import "os"

func isNoSpace(error) bool { return false }

func makeSparse(*os.File) error { return nil }

func syncFolder(string) error { return nil }
