package aiobdev

// Options of Open. The zero value opens an existing image or block device for reading and writing.
type Options struct {
	// ReadOnly changes nothing on the device and admits other readers.
	ReadOnly bool
	// Create makes the image (mode 0600, sparse) when there is no file of that name. It needs Size.
	Create bool
	// Size is the least size in bytes an image shall have: a new one gets it, a smaller one is grown to it unless
	// ReadOnly, a larger one is left alone. 0 takes the image as it is. A block device must have it already.
	Size int64
	// BlockSize in bytes; 0 takes the smallest that direct I/O admits here, which is 512 on most file systems and
	// the logical block of a block device.
	BlockSize int
	// QueueDepth is how many requests one queue has in flight; 0 means DefaultQueueDepth.
	QueueDepth int
}

// DefaultQueueDepth is Options.QueueDepth when that is 0. It keeps an NVMe drive behind the kernel busy, and even a
// queue per core is far from the kernel's default limit of 65536 AIO requests for all processes together.
const DefaultQueueDepth = 256

// maxQueueDepth bounds Options.QueueDepth.
const maxQueueDepth = 4096

// maxTransfer is the longest request given to the kernel, in bytes. Block drivers take about as much in one command;
// longer requests would hold up the requests behind them and make io_submit block for a free command.
const maxTransfer = 1 << 20
