package softctrl

import (
	"fmt"
	"time"

	"github.com/blobkv/blobkv/nvme/spec"
)

// Config is what a controller is. The zero value of a field is the default that its comment names.
type Config struct {
	Serial, Model, Firmware string  // "SOFT0001", "blobkv software controller", "1.0"
	Queues                  int     // I/O queue pairs, 64
	Entries                 int     // of a queue at most, 1024
	MDTS                    uint8   // log2 of pages of 4 KiB, 5 is 128 KiB; NoLimit for none
	ReadyTimeout            uint8   // CAP.TO, units of 500 ms, 4
	DoorbellStride          uint8   // CAP.DSTRD
	SGL                     bool    // takes SGLs
	Shadow                  bool    // offers shadow doorbells
	Fixed                   bool    // offers no format, sanitize, namespace management, firmware or security
	WriteCache              bool    // says that it has a volatile write cache; Storage decides what that means
	Aborts, Events          uint8   // ACL and AERL, zero-based; 3 and 3
	AtomicBlocks            uint16  // AWUN, AWUPF and ACWU as a count of blocks, 1
	Version                 spec.VS // 2.0
	Namespaces              []NamespaceConfig
	// Doorbells is memory for the doorbell registers, for a server that shares it with its peer; nil is the controller's own.
	Doorbells []byte
	// Interrupt is called when a completion queue with interrupts has something; nil for none.
	Interrupt func(vector uint16)
	Vectors   int // of Interrupt
	// Now is the time since some origin, for slow commands; nil is the system's.
	Now func() time.Duration
	// Observe is shown every command before it is carried out, admin commands as those of queue 0.
	Observe func(sqid uint16, cmd spec.Command)
	// MangleIdentify and MangleCompletion change what the host is told, to see that it does not believe it.
	MangleIdentify   func(cns, csi uint8, nsid uint32, page []byte)
	MangleCompletion func(sqid uint16, entry []byte)
}

// NoLimit as MDTS is none.
const NoLimit = 0xFF

// NamespaceConfig is a namespace.
type NamespaceConfig struct {
	ID         uint32 // 0 is the next one
	Storage    Storage
	BlockSize  int    // 512
	MetaSize   int    // bytes for each block, kept in memory
	Extended   bool   // metadata behind the data of each block
	Protection uint8  // type, 0 to 3
	First      bool   // protection information is at the start of the metadata
	Boundary   uint16 // NOIOB, blocks
	Detached   bool
	ReadOnly   bool
	ZoneBlocks uint64 // zone size: makes it a zoned namespace
	MaxOpen    uint32 // zones open at a time, 0 is no limit
}

func (c Config) withDefaults() (Config, error) {
	orElse(&c.Serial, "SOFT0001")
	orElse(&c.Model, "blobkv software controller")
	orElse(&c.Firmware, "1.0")
	orElse(&c.Queues, 64)
	orElse(&c.Entries, 1024)
	orElse(&c.MDTS, 5)
	orElse(&c.ReadyTimeout, 4)
	orElse(&c.Aborts, 3)
	orElse(&c.Events, 3)
	orElse(&c.AtomicBlocks, 1)
	orElse(&c.Version, spec.Version(2, 0, 0))
	if c.Now == nil {
		origin := time.Now()
		c.Now = func() time.Duration { return time.Since(origin) }
	}
	if c.Queues < 1 || c.Queues > maxQueues || c.Entries < 2 || c.Entries > 1<<16 || c.DoorbellStride > 4 {
		return c, fmt.Errorf("%d queues of %d entries, doorbell stride %d: out of range", c.Queues, c.Entries, c.DoorbellStride)
	}
	if n := c.doorbellBytes(); c.Doorbells == nil {
		c.Doorbells = make([]byte, n)
	} else if len(c.Doorbells) < n {
		return c, fmt.Errorf("%d bytes for doorbells, want %d", len(c.Doorbells), n)
	}
	return c, nil
}

// maxQueues is how many I/O queue pairs a controller has at most.
const maxQueues = 1024

// doorbellBytes is the size of the doorbell registers.
func (c *Config) doorbellBytes() int { return 2 * (c.Queues + 1) * (4 << c.DoorbellStride) }

func orElse[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
