package join

import (
	"crypto/x509"
	"errors"
	"time"
)

// Verify says whether a chain, the holder's certificate first, leads to one of
// some roots, at a time. A CA in the chain that a trusted root has signed is
// trusted as it is: that is how who slept through a rotation of the CA follows,
// whatever path length the old root allows.
func Verify(chain, roots []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("no certificate was shown")
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: now}
	for _, c := range vouched(chain[1:], roots, now) {
		options.Roots.AddCert(c)
	}
	_, err := chain[0].Verify(options)
	return err
}

// vouched are some roots, and the CAs shown that they or others of these signed.
func vouched(shown, roots []*x509.Certificate, now time.Time) []*x509.Certificate {
	const most = 16 // certificates that are looked at: each costs signatures
	trusted := append([]*x509.Certificate(nil), roots...)
	left := shown[:min(len(shown), most)]
	for grew := true; grew; {
		grew = false
		var rest []*x509.Certificate
		for _, c := range left {
			if c.IsCA && c.BasicConstraintsValid && Valid(c, now) == nil && signedBy(c, trusted, now) {
				trusted, grew = append(trusted, c), true
			} else {
				rest = append(rest, c)
			}
		}
		left = rest
	}
	return trusted
}

func signedBy(c *x509.Certificate, by []*x509.Certificate, now time.Time) bool {
	for _, root := range by {
		if Valid(root, now) == nil && c.CheckSignatureFrom(root) == nil {
			return true
		}
	}
	return false
}
