package apart

import (
	"bytes"
	"slices"

	"github.com/weft-net/weft/proto/intent"
)

// look takes notice of the intent and of what else the process has to know, and marks
// what is other than before.
func (c *Client) look() {
	n, held := c.cfg.Intent()
	if !held {
		return
	}
	next := c.peers(n)
	servers, apart := c.cfg.Servers()
	self := node{identity: c.identity(), Servers: servers[:min(len(servers), maxServers)], Apart: apart}
	for slot := range uint8(intent.Slots) {
		self.Devices[slot] = c.cfg.Device(slot)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, p := range next {
		if was, ok := c.base[name]; !ok || !was.equal(p) {
			c.edited[name] = true
		}
	}
	for name := range c.base {
		if _, ok := next[name]; !ok {
			c.edited[name] = true
		}
	}
	news := len(c.edited) > 0 || !c.held || !slices.Equal(self.Servers, c.node.Servers) || self.Apart != c.node.Apart || self.Devices != c.node.Devices
	c.base, c.node, c.held = next, self, true
	if news {
		signal(c.dirty)
	}
}

func (c *Client) identity() identity { return identity{c.cfg.Node, c.cfg.DataDir} }

// peers is what the process has to know of each node.
func (c *Client) peers(n intent.Node) map[string]peer {
	c.mu.Lock()
	before := c.base
	c.mu.Unlock()
	self, _ := n.Self()
	out := make(map[string]peer, len(n.Peers))
	ours := before[n.Name].Slots
	for _, of := range n.Peers {
		p := peer{Name: of.Name, Lease: of.Lease[:min(len(of.Lease), maxLeases)], Relays: of.Relaying()}
		if straight, known := c.cfg.Straight(of.Name); known {
			p.Straight = &straight
		}
		for _, s := range of.Slots {
			if int(s.Slot) < intent.Slots {
				p.Slots[s.Slot] = slot{Key: s.Key[:], Leaving: s.Leaving}
			}
		}
		if of.Name != n.Name && (self.Relaying() || of.Relaying() || before[of.Name].sealed()) {
			c.secrets(&p, before[of.Name], self, ours)
		}
		out[p.Name] = p
	}
	return out
}

// secrets adds what only this node and a peer know, by their keys of each slot. What was
// known of the same keys is not asked for again. A peer keeps them when neither relays
// any more: pairs leave a relay only then.
func (c *Client) secrets(p *peer, was peer, self intent.Peer, ours [intent.Slots]slot) {
	for i := range p.Slots {
		own, ok := self.SlotOf(uint8(i))
		if !ok || len(p.Slots[i].Key) == 0 {
			continue
		}
		old := was.Slots[i]
		if len(old.Secret) > 0 && bytes.Equal(old.Key, p.Slots[i].Key) && bytes.Equal(ours[i].Key, own.Key[:]) {
			p.Slots[i].Secret = old.Secret
		} else if secret, ok := c.cfg.Secret(p.Name, uint8(i)); ok {
			p.Slots[i].Secret = secret[:]
		}
	}
}

// news are the messages that say what the process does not know yet. whole: it is to
// know everything, and only that. There are none as long as the agent knows nothing: the
// process goes on by what it was told last.
func (c *Client) news(whole bool) []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held {
		return nil
	}
	if whole {
		for name := range c.base {
			c.edited[name] = true
		}
	}
	own := c.node
	first := message{Node: &own}
	if c.events.Renewed || c.events.Moved || len(c.events.Alive) > 0 {
		e := c.events
		first.Events, c.events = &e, events{}
	}
	out := []message{first}
	size := 0
	for name := range c.edited {
		if size > maxBatch {
			out, size = append(out, message{}), 0
		}
		last := &out[len(out)-1]
		p, member := c.base[name]
		if size += p.size() + 2*len(name); !member {
			last.Gone = append(last.Gone, name)
			continue
		}
		for i := range p.Asks {
			p.Asks[i] = c.asks[key{name, uint8(i)}]
		}
		last.Peers = append(last.Peers, p)
	}
	clear(c.edited)
	out[len(out)-1].Whole = whole
	return out
}

// sealed tells whether a node is one of two that know a secret.
func (p peer) sealed() bool {
	return slices.ContainsFunc(p.Slots[:], func(s slot) bool { return len(s.Secret) > 0 })
}

// size is at least what a peer takes of a message beside its name, in bytes.
func (p peer) size() int { return 600 + 64*len(p.Lease) }
