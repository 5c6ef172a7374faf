package join

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// PinnedTLS is how a machine that knows nothing but its token dials a server:
// the chain must end in the CA whose public key the token names. The address is
// not compared with the certificate: every holder of a server certificate of
// that CA is a server of the fabric, and a node's certificate is none.
func PinnedTLS(t Token) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection below is stricter: it trusts one key
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyPinned(s.PeerCertificates, t.CAHash, time.Now())
		},
	}
}

func verifyPinned(chain []*x509.Certificate, hash string, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("join: the server showed no certificate")
	}
	var roots []*x509.Certificate
	for _, c := range chain[1:] {
		if c.IsCA && Hash(c) == hash {
			roots = append(roots, c)
		}
	}
	if len(roots) == 0 {
		return fmt.Errorf("join: the server's CA is not the one that the token names (SHA-256 %.16s...): "+
			"it is a server of another fabric, or somebody is in between; compare with the server's <data-dir>/agent-token", hash)
	}
	if err := Verify(chain, roots, x509.ExtKeyUsageServerAuth, now); err != nil {
		if clock := Valid(chain[0], now); clock != nil {
			err = clock
		}
		return fmt.Errorf("join: the server's certificate: %w", err)
	}
	return nil
}

// Valid says whether a certificate is valid at a time, and if not, prints both
// times: one of the two clocks may have jumped.
func Valid(c *x509.Certificate, now time.Time) error {
	const layout = time.RFC3339
	switch {
	case now.Before(c.NotBefore):
		return fmt.Errorf("not valid before %s, and this machine's clock says %s; set the clock (or that of the machine that issued it)",
			c.NotBefore.UTC().Format(layout), now.UTC().Format(layout))
	case now.After(c.NotAfter):
		return fmt.Errorf("ended at %s, and this machine's clock says %s; renew it, or set the clock",
			c.NotAfter.UTC().Format(layout), now.UTC().Format(layout))
	}
	return nil
}
