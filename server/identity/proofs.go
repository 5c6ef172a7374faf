package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// maxProofs bounds how many certificates are remembered as verified.
const maxProofs = 1 << 14

// proofs are whom certificates name that were verified. A stream looks at its
// certificate four times until it is let in, and agents come back with the same
// one: its signature is verified at the first, as long as the same CAs count. What
// it is worth now, revoked or ended, is no part of it and is looked up each time.
type proofs struct {
	mu    sync.Mutex
	roots *roots
	peers map[[sha256.Size]byte]Peer // by what was signed
}

// find answers with what verify answered for the certificate under these roots, or
// asks it. What it refuses is asked again the next time.
func (p *proofs) find(cert *x509.Certificate, r *roots, verify func() (Peer, error)) (Peer, error) {
	key := sha256.Sum256(cert.Raw)
	p.mu.Lock()
	known, ok := p.peers[key]
	ok = ok && p.roots == r
	p.mu.Unlock()
	if ok {
		return known, nil
	}
	peer, err := verify()
	if err != nil {
		return peer, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roots != r || len(p.peers) >= maxProofs {
		p.roots, p.peers = r, map[[sha256.Size]byte]Peer{}
	}
	p.peers[key] = peer
	return peer, nil
}
