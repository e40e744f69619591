//go:build !linux

package vfiouser

import (
	"context"
	"fmt"
	"runtime"

	"github.com/blobkv/blobkv/nvme"
)

var errPlatform = fmt.Errorf("vfio-user on %s: sockets that carry memory are a matter of Linux: %w", runtime.GOOS, nvme.ErrUnsupported)

// Client reaches a controller over a vfio-user socket, on Linux.
type Client struct{ nvme.Transport }

// Open fails on this platform.
func Open(string, Options) (*Client, error) { return nil, errPlatform }

// Server offers a controller over a vfio-user socket, on Linux.
type Server struct{}

// ServerStats of a Server.
type ServerStats struct {
	Sessions, Refused uint64
	Connected         bool
	Messages          uint64
	Commands          uint64
}

// Listen fails on this platform.
func Listen(string, Device, ServerOptions) (*Server, error) { return nil, errPlatform }

// Path is the socket.
func (s *Server) Path() string { return "" }

// Stats are all zero.
func (s *Server) Stats() ServerStats { return ServerStats{} }

// Serve fails on this platform.
func (s *Server) Serve(context.Context) error { return errPlatform }

// Close does nothing.
func (s *Server) Close() error { return nil }
