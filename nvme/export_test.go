package nvme

// Entries is the size of the rings, for the benchmark that rings doorbells by itself.
func (q *Queue) Entries() uint32 { return q.entries }

// Tail is the submission queue's tail.
func (q *Queue) Tail() uint32 { return q.tail }

// Head is the completion queue's head.
func (q *Queue) Head() uint32 { return q.head.Load() &^ phaseBit }
