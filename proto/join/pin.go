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
// that CA is a server of the fabric, and a node's certificate is none. now is this
// machine's clock, which may be behind.
func PinnedTLS(t Token, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // VerifyConnection below is stricter: it trusts one key
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyPinned(s.PeerCertificates, t.CAHash, now())
		},
	}
}

// NoEarlier is a time, or the moment from which a certificate is valid if that is
// later: for who trusts its issuer more than a clock that may be behind.
func NoEarlier(now time.Time, c *x509.Certificate) time.Time {
	if now.Before(c.NotBefore) {
		return c.NotBefore
	}
	return now
}

func verifyPinned(chain []*x509.Certificate, hash string, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("join: the server showed no certificate")
	}
	now = NoEarlier(now, chain[0]) // a machine that joins may not have heard of NTP yet
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
