package tunnels

// claim says that the server that peer names is k's, unless another keeper has it:
// then it answers by which address.
func (t *Tunnels) claim(peer string, k *keeper) (of string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if peer == "" {
		return ""
	}
	if holder := t.peers[peer]; holder != nil && holder != k {
		return holder.server
	}
	if k.peer != peer {
		t.let(k)
		k.peer, t.peers[peer] = peer, k
	}
	return ""
}

// release gives it up.
func (t *Tunnels) release(k *keeper) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.let(k)
}

// let gives up what k has. Whoever waited because of it tries now. t.mu is held.
func (t *Tunnels) let(k *keeper) {
	if k.peer == "" {
		return
	}
	delete(t.peers, k.peer)
	k.peer = ""
	for _, other := range t.keepers {
		if other.shown.State == Same && other.shown.Of == k.server {
			other.now = true
			signal(other.wake)
		}
	}
}
