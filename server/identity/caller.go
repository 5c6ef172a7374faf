package identity

import "context"

// Caller answers who calls, as far as the certificate says it, and the
// certificate's serial number in hexadecimal. It is for records, not for
// decisions: whom Identify refuses it names all the same, if the certificate is
// this fabric's.
func (a *Authority) Caller(ctx context.Context) (p Peer, serial string) {
	cert := presented(ctx)
	if cert == nil {
		return Peer{}, ""
	}
	p, err := a.named(cert, cert.NotBefore)
	if err != nil {
		return Peer{}, ""
	}
	if role, err := a.recorded(p, keyHash(cert.RawSubjectPublicKeyInfo)); err == nil {
		p.Role = role
	}
	return p, cert.SerialNumber.Text(16)
}
