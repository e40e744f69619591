package bdev

// SetHome says which shared channel of a device carries the request.
func (r *Request) SetHome(n uint32) { r.home = n }
