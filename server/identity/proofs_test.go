package identity

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"testing"
)

func TestProofs(t *testing.T) {
	var p proofs
	first, second := &roots{}, &roots{}
	n1, n2 := &x509.Certificate{Raw: []byte("n1")}, &x509.Certificate{Raw: []byte("n2")}
	for _, tt := range []struct {
		name     string
		cert     *x509.Certificate
		roots    *roots
		answer   error
		verified bool
	}{
		{"a new one", n1, first, nil, true},
		{"again", n1, first, nil, false},
		{"another", n2, first, nil, true},
		{"other CAs count", n1, second, nil, true},
		{"and not for the other", n2, second, errors.New("not of this fabric"), true},
		{"what was refused is not remembered", n2, second, errors.New("not of this fabric"), true},
		{"what was accepted is", n1, second, nil, false},
		{"the first CAs again", n1, first, nil, true},
	} {
		verified := false
		got, err := p.find(tt.cert, tt.roots, func() (Peer, error) {
			verified = true
			return Peer{RoleNode, string(tt.cert.Raw)}, tt.answer
		})
		if verified != tt.verified || !errors.Is(err, tt.answer) || err == nil && got.Name != string(tt.cert.Raw) {
			t.Errorf("%s: verified %v, %v, %v", tt.name, verified, got, err)
		}
	}
	for i := range 3 * maxProofs {
		raw := binary.BigEndian.AppendUint32(nil, uint32(i))
		_, _ = p.find(&x509.Certificate{Raw: raw}, first, func() (Peer, error) { return Peer{}, nil })
		if len(p.peers) > maxProofs {
			t.Fatalf("%d are remembered", len(p.peers))
		}
	}
}
