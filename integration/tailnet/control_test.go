package tailnet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// tag is what the nodes of a fabric carry in the tailnet.
const tag = "tag:weft"

// control is a control server of a tailnet, with its relay.
type control struct {
	host    *lab.Host
	program string
	dir     string
	url     string
	ca      string // file of the certificate that it shows
	process *lab.Process
}

// configuration of Headscale: nothing of it asks or tells anybody outside of the lab.
const configuration = `
server_url: %[1]s
listen_addr: %[2]s:8443
metrics_listen_addr: ""
grpc_listen_addr: 127.0.0.1:50443
unix_socket: %[3]s/headscale.sock
tls_cert_path: %[3]s/cert.pem
tls_key_path: %[3]s/key.pem
noise: {private_key_path: %[3]s/noise.key}
prefixes: {v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48"}
disable_check_updates: true
database: {type: sqlite, sqlite: {path: %[3]s/db.sqlite}}
derp:
  server:
    enabled: true
    region_id: 999
    region_code: lab
    region_name: lab
    stun_listen_addr: "%[2]s:3478"
    private_key_path: %[3]s/derp.key
    automatically_add_embedded_derp_region: true
    ipv4: %[2]s
  urls: []
  paths: []
  auto_update_enabled: false
dns: {magic_dns: false, override_local_dns: false, base_domain: tailnet.test, nameservers: {global: []}}
policy: {mode: file, path: %[3]s/policy.json}
log: {level: info}
`

// startControl starts Headscale and returns when it answers.
func startControl(ctx context.Context, h *lab.Host, addr netip.Addr, program string) (*control, error) {
	c := &control{host: h, program: program, dir: filepath.Join(h.Dir(), "headscale"), url: fmt.Sprintf("https://%v:8443", addr)}
	c.ca = filepath.Join(c.dir, "cert.pem")
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	if err := certify(c.dir, addr); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.yaml"), fmt.Appendf(nil, configuration, c.url, addr, c.dir), 0o600); err != nil {
		return nil, err
	}
	if err := c.write(nil); err != nil {
		return nil, err
	}
	var err error
	if c.process, err = h.Start("headscale", program, "--config", filepath.Join(c.dir, "config.yaml"), "serve"); err != nil {
		return nil, err
	}
	err = lab.Until(ctx, "Headscale answers", func() (string, error) { return c.run(ctx, "users", "create", "ops") })
	return c, err
}

// certify makes a certificate that names an address.
func certify(dir string, addr netip.Addr) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{addr.AsSlice()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}

// run runs Headscale's own command line.
func (c *control) run(ctx context.Context, args ...string) (string, error) {
	return c.host.Run(ctx, append([]string{c.program, "--config", filepath.Join(c.dir, "config.yaml")}, args...)...)
}

// key makes a key to join with.
func (c *control) key(ctx context.Context, flags ...string) (string, error) {
	out, err := c.run(ctx, append([]string{"preauthkeys", "create", "--user", "1", "--output", "json"}, flags...)...)
	if err != nil {
		return "", err
	}
	var made struct{ Key string }
	if at := strings.Index(out, "{"); at >= 0 { // what it logs stands before
		err = json.Unmarshal([]byte(out[at:]), &made)
	}
	if err == nil && made.Key == "" {
		err = fmt.Errorf("no key in %s", out)
	}
	return made.Key, err
}

// write writes the tailnet's policy, with autoApprovers as weft tells them, or none.
func (c *control) write(approvers []byte) error {
	policy := map[string]any{
		"tagOwners": map[string]any{tag: []string{"ops@"}},
		"acls":      []any{map[string]any{"action": "accept", "src": []string{"*"}, "dst": []string{"*:*"}}},
	}
	if approvers != nil {
		policy["autoApprovers"] = json.RawMessage(approvers)
	}
	b, err := json.Marshal(policy)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "policy.json"), b, 0o600)
}

// approve pastes autoApprovers into the policy and has it read again.
func (c *control) approve(approvers []byte) error {
	if err := c.write(approvers); err != nil {
		return err
	}
	return c.process.Signal(syscall.SIGHUP)
}
