package tunnel

// takeFin is the end of what they write; with mu held.
func (s *Stream) takeFin() {
	if s.opening != nil || s.request != nil || s.finGot {
		s.violate("ended when it was not open")
		return
	}
	s.finGot = true
	s.forget()
	s.readable.Broadcast()
	if s.finSent {
		s.conn.detach(s)
	}
}

// takeReset is their sudden end; with mu held. If they had written all they had,
// it says only that they read no more.
func (s *Stream) takeReset(why Refusal) {
	err := &ResetError{Code: why.Code, Reason: why.Reason, Remote: true}
	s.conn.stats.Resets++
	if why.Code == Closed && s.finGot && s.err == nil {
		s.broken = err
		s.dropOut()
		s.finWanted, s.finSent = true, true
		s.writable.Broadcast()
	} else {
		s.abort(err)
	}
	s.conn.detach(s)
}

// violate ends a stream whose other end broke the protocol; with mu held.
func (s *Stream) violate(how string) {
	s.conn.stats.Violations++
	s.end(Refusal{Code: Violation, Reason: how}, &ResetError{Code: Violation, Reason: how})
}

// end ends a stream at once and tells the other end; with mu held.
func (s *Stream) end(tell Refusal, err error) {
	if s.err != nil || s.conn.streams[s.id] != s {
		s.abort(err)
		return
	}
	s.conn.stats.Resets++
	s.abort(err)
	s.conn.detach(s)
	s.reply = &tell
	s.conn.sched.mark(s, markReset)
}

// abort ends a stream at this end, in both directions; with mu held. What comes
// first stays the reason.
func (s *Stream) abort(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.finWanted = false
	s.dropIn()
	s.dropOut()
	s.forget()
	s.readBy.stop()
	s.writeBy.stop()
	s.answered()
	s.settled()
	s.readable.Broadcast()
	s.writable.Broadcast()
}

// dropIn gives up what waits to be read; with mu held.
func (s *Stream) dropIn() {
	s.conn.budget.drop(int64(s.in.size))
	s.in.clear()
}

// dropOut gives up what waits to be sent; with mu held.
func (s *Stream) dropOut() {
	s.unspend(s.out.size)
	s.out.clear()
}
