package uplink

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

// maxRoots is how many roots an agent takes, of maxCert bytes each.
const (
	maxRoots  = 16
	maxCert   = 16 << 10
	maxWithin = time.Hour // over which renewals are spread
)

// hashes names roots as servers do.
func hashes(roots []*x509.Certificate) []string {
	var out []string
	for _, c := range roots {
		out = append(out, join.Hash(c))
	}
	slices.Sort(out)
	return out
}

// parseRoots reads roots as they come over the wire.
func parseRoots(der [][]byte) ([]*x509.Certificate, error) {
	if len(der) == 0 || len(der) > maxRoots {
		return nil, fmt.Errorf("%d roots; 1 to %d are taken", len(der), maxRoots)
	}
	var out []*x509.Certificate
	for _, b := range der {
		if len(b) > maxCert {
			return nil, fmt.Errorf("a root of %d bytes; at most %d are taken", len(b), maxCert)
		}
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("a root: %w", err)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("%q is no root: it may sign nothing", c.Subject.CommonName)
		}
		out = append(out, c)
	}
	return out, nil
}

// trust takes the roots that a server names, onto the disk first: what is said of
// them holds after a crash. Roots that would lock the node out are refused: those
// under which the very server that names them would not be believed, and that have
// none of the roots that stand. What the server showed may be of a root from before
// several rotations, when the stream is old.
func (u *Uplink) trust(m *weftv1.Trust, shown []*x509.Certificate) {
	if err := u.takeRoots(m.GetRoots(), shown); err != nil {
		u.cfg.Log.Error("roots refused", note.Err, err)
		u.out.setProblems("roots", []intent.Problem{{
			Subject: u.dir.Path(rootsName), Cause: "roots that a server sent were not taken: " + err.Error(),
			Remedy: "the old ones stand; look at the servers: weft rotate ca --status",
		}})
		return
	}
	u.out.setProblems("roots", nil)
	if !m.GetRenew() {
		return
	}
	pause := min(time.Duration(m.GetWithinMilli())*time.Millisecond, maxWithin)
	u.mu.Lock()
	u.early = u.cfg.Now().Add(u.line.apart).Add(rand.N(pause + 1))
	u.mu.Unlock()
	wake(u.renewed)
}

func (u *Uplink) takeRoots(der [][]byte, shown []*x509.Certificate) error {
	roots, err := parseRoots(der)
	if err != nil {
		return err
	}
	judge := identity{roots: roots, cert: u.identity().cert}
	if err := judge.verify(shown, u.now()); err != nil && !overlap(hashes(roots), hashes(u.identity().roots)) {
		return fmt.Errorf("this server itself would not be trusted with them: %w", err)
	}
	u.enrolling.Lock() // who renews writes the same file
	defer u.enrolling.Unlock()
	id := u.identity()
	if slices.Equal(hashes(id.roots), hashes(roots)) {
		return nil
	}
	id.roots = roots
	if err := u.dir.Write(rootsName, rootsPEM(roots)); err != nil {
		return err
	}
	u.mu.Lock()
	u.id.roots = roots
	u.mu.Unlock()
	u.out.setRoots(hashes(roots))
	for _, t := range u.kept() {
		t.Renewed()
	}
	u.cfg.Log.Info("roots received", note.Objects, len(roots))
	return nil
}

// overlap says that one of some is among others.
func overlap(some, others []string) bool {
	return slices.ContainsFunc(some, func(h string) bool { return slices.Contains(others, h) })
}

func rootsPEM(roots []*x509.Certificate) []byte {
	var out []byte
	for _, c := range roots {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: c.Raw})...)
	}
	return out
}

// renewAt is when the certificate is to be renewed: at two thirds of its life, or
// when a server asked for it.
func (u *Uplink) renewAt(id identity) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at := id.renewAt(); u.early.IsZero() || at.Before(u.early) {
		return at
	}
	return u.early
}

func (b *outbox) setRoots(hashes []string) {
	b.change(func() bool {
		changed := !slices.Equal(b.roots, hashes)
		b.roots = hashes
		return changed
	})
}

// nextRoots says which roots stand on the disk now.
func (b *outbox) nextRoots(s *sent) []*weftv1.SyncRequest {
	if slices.Equal(b.roots, s.roots) {
		return nil
	}
	s.roots = b.roots
	return []*weftv1.SyncRequest{{Message: &weftv1.SyncRequest_Trusts{Trusts: &weftv1.Trusts{Roots: b.roots}}}}
}
