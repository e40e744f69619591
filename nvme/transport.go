package nvme

// Transport reaches one controller: its registers, memory that it can read and write, its interrupts. A controller on
// PCI is reached through vfio (package vfio), one in another process over a vfio-user socket (package vfiouser), one in
// this process directly (package softctrl). Register offsets count from the start of BAR 0.
//
// Any goroutine may call any method. Errors leave the controller's name to package nvme. After Close, and once the controller is
// gone, every method but Close returns an error that wraps ErrGone.
type Transport interface {
	// Name says which controller it is, as a user wrote it: a PCI address, a socket's folder.
	Name() string
	// Load32 and Load64 read a register, Store32 and Store64 write one. A transport that cannot do 64 bits at once reads or
	// writes the lower half first (NVMe base 2.0, section 3.1.3).
	Load32(offset uint32) (uint32, error)
	Load64(offset uint32) (uint64, error)
	Store32(offset uint32, value uint32) error
	Store64(offset uint32, value uint64) error
	// Window returns size bytes of BAR 0 as memory that may be loaded and stored atomically, nil where that part is not
	// mapped. The driver rings doorbells through it.
	Window(offset uint32, size int) []byte
	// Alloc returns zeroed memory that the controller reaches at IOVA in one piece, page aligned.
	Alloc(size int) (DMA, error)
	// Free ends the controller's access to what Alloc gave and releases it.
	Free(m DMA) error
	// Map lets the controller reach memory of the caller, which starts and ends at a page, stays locked, and is contiguous from
	// the returned address on. ErrNotShareable where the transport cannot reach memory of that kind.
	Map(b []byte) (iova uint64, err error)
	// Unmap ends what Map began; b is the same slice.
	Unmap(b []byte) error
	// Vectors is how many interrupt vectors there are; 0 means that a completion can only be polled for.
	Vectors() int
	// Interrupt makes the vector signal an eventfd(2) that the caller owns; -1 ends it.
	Interrupt(vector int, eventfd int) error
	// Reset resets the whole function, where the transport can (PCI function level reset); ErrUnsupported where it cannot. It
	// waits for that, and Controller.Poll with it, after a controller reset that failed: the bound is the transport's, on PCI that
	// of the kernel, which gives a function up to a minute to answer again.
	Reset() error
	// Close ends the controller's access to all memory and releases everything. The controller is to be disabled before.
	Close() error
}

// Sleeper is a Transport to a controller that sleeps when nothing comes, because it polls doorbells in memory and nobody told
// it: one in another process.
type Sleeper interface {
	// Sleeps tells whether that is so.
	Sleeps() bool
	// Wake makes the controller look at its doorbells after everything that was stored to them before. It does not wait for that.
	Wake() error
}

// Masker is a Transport that can hold back the interrupts of a vector without a system call.
type Masker interface {
	// Masks tells whether it can, with this controller and on this machine.
	Masks() bool
	// Mask holds the vector's interrupts back, or lets them through again: one that was held back then comes at once, perhaps for
	// a completion that was found meanwhile. Interrupt with an eventfd unmasks.
	Mask(vector int, masked bool) error
}

// Fragile is a Transport whose windows others can take away while they are stored to: a peer that cuts the file behind them short, a
// machine that switches a device's memory off.
type Fragile interface {
	// Fragile tells whether that can be. Doorbells are rung with care then, which takes 9 ns more each.
	Fragile() bool
}

// Aborter is a Transport whose methods may wait for somebody who does not answer: another process.
type Aborter interface {
	// Abort ends all waiting: the controller is gone, for that cause. It still has to be closed.
	Abort(cause error)
}

// DMA is memory that a controller reaches.
type DMA struct {
	Bytes []byte // page aligned
	IOVA  uint64 // the address of Bytes[0] for the controller
}
