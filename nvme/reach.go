package nvme

// Registered tells whether the controller reaches all of b as one piece of memory that was registered or allocated. It takes
// no lock and allocates nothing.
func (c *Controller) Registered(b []byte) bool {
	at := address(b)
	r, ok := c.memory.find(*c.memory.table.Load(), at)
	return ok && uintptr(len(b)) <= r.end-at
}

// QueueDepth is how many commands a queue pair can have outstanding.
func (c *Controller) QueueDepth() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.layout.entries - 1
}
