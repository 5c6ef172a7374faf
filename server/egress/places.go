package egress

import "sync"

// places are for connections that are open, or about to be. Each takes one or two of
// the files that the process may have, of which its etcd, agents and operators need
// theirs. Who asks for many leaves a quarter to others. It is safe for concurrent use.
type places struct {
	server string
	most   int

	mu    sync.Mutex
	taken int
	by    map[string]int // by who asks
}

func newPlaces(server string, most int) *places {
	return &places{server: server, most: most, by: map[string]int{}}
}

// take has a place for somebody, until release is called.
func (p *places) take(by Asker) (release func(), r *Refusal) {
	who := by.Role + " " + by.User
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken >= p.most:
		return nil, refuse(Overloaded, "%d connections are open, as many as server %s bears", p.taken, p.server).do("ask another server")
	case p.by[who] >= p.most-p.most/4:
		return nil, refuse(Overloaded, "%v has %d connections open, as many as server %s bears of one", by, p.by[who], p.server).do("end some, or ask another server")
	}
	p.taken++
	p.by[who]++
	return func() { p.leave(who) }, nil
}

// count is how many places are taken.
func (p *places) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

func (p *places) leave(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[who]--; p.by[who] == 0 {
		delete(p.by, who)
	}
}
