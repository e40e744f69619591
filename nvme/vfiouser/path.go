package vfiouser

import (
	"os"
	"path/filepath"
)

// NamePrefix is what tells the name of a controller that another process serves from the address of one on PCI.
const NamePrefix = "vfio-user:"

// socketName is the socket in a folder, by the convention of SPDK.
const socketName = "cntrl"

// SocketPath is the socket that a name means: that of a folder, or the name itself, which is a path to a socket.
func SocketPath(name string) string {
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return filepath.Join(name, socketName)
	}
	return name
}
