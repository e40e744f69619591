package bdev

import "github.com/blobkv/blobkv/internal/dmabuf"

// split sends a request in pieces the backend takes, through memory it can reach. The parent is done when all pieces
// are; the first error wins.
func (c *shared) split(r *Request) {
	s := newSplitter(c.dev, r)
	r.pieces.Store(1)
	r.failed.Store(false)
	for p := s.next(); p != nil; p = s.next() {
		p.ch = c
		r.pieces.Add(1)
		if s.bounced {
			if err := p.bounce(deviceMemory(len(p.Buf)), dmabuf.Default); err != nil {
				p.completePiece(err)
				continue
			}
		}
		c.submit(p)
	}
	r.pieceDone()
}

// splitter cuts a request into pieces.
type splitter struct {
	d       *Device
	r       *Request
	off     int  // bytes of the parent that have been cut
	bounced bool // the backend does not take the memory
}

func newSplitter(d *Device, r *Request) splitter {
	return splitter{d: d, r: r, bounced: !d.reaches(r.Buf)}
}

// next makes the next piece, nil after the last.
func (s *splitter) next() *Request {
	if s.off == len(s.r.Buf) {
		return nil
	}
	start := s.r.Offset + int64(s.off)
	n := s.d.piece(start, len(s.r.Buf)-s.off)
	if s.bounced {
		n = min(n, maxPiece)
	}
	p := GetRequest()
	p.Op, p.FUA, p.Offset, p.Buf = s.r.Op, s.r.FUA, start, s.r.Buf[s.off:s.off+n]
	p.dev, p.parent = s.d, s.r
	p.state.Store(stateInFlight)
	s.off += n
	return p
}

// completePiece ends one piece. Pieces may end on several goroutines at once.
func (p *Request) completePiece(err error) {
	r := p.parent
	err = p.unbounce(err)
	if err != nil && r.failed.CompareAndSwap(false, true) {
		r.err = p.wrap(err)
	}
	PutRequest(p)
	r.pieceDone()
}

// pieceDone ends the parent with its last piece.
func (r *Request) pieceDone() {
	if r.pieces.Add(-1) != 0 {
		return
	}
	if r.own != nil {
		r.own.completed(r, r.err)
		return
	}
	r.dev.completed(r, r.err)
}
