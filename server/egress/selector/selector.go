package selector

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// Front is a front end of weft-server.
type Front string

// The front ends.
const (
	Socket       Front = "socket"       // HTTP CONNECT on a unix socket
	TCP          Front = "tcp"          // HTTP CONNECT on the TLS port, with a client certificate
	Konnectivity Front = "konnectivity" // Konnectivity's gRPC on a unix socket
)

// Fronts are all of them.
var Fronts = []Front{Socket, TCP, Konnectivity}

// Selection is what a file says.
type Selection struct {
	Front  Front
	Socket string // path of the front end's, absolute; not of TCP
	URL    string // https://host:port, of TCP
	File   string // where the file will be, absolute; PEM files of TCP are beside it
	Data   string // folder of weft-server: no pod may see it
}

// Names of the files beside a selection's, as weft user create --pem writes them.
const (
	caFile   = "ca.pem"
	certFile = "cert.pem"
	keyFile  = "key.pem"
)

// Validate refuses what a kube-apiserver could not use.
func (s Selection) Validate() error {
	for _, p := range []struct{ what, path string }{{"the file", s.File}, {"the socket", s.Socket}} {
		switch {
		case p.path == "" && (p.what == "the file" || s.Front != TCP):
			return fmt.Errorf("selector: %s has no path", p.what)
		case p.path != "" && !filepath.IsAbs(p.path):
			return fmt.Errorf("selector: %s %q is no absolute path", p.what, p.path)
		case strings.ContainsFunc(p.path, func(r rune) bool { return r < ' ' || r == ':' || r == 0x7f }):
			return fmt.Errorf("selector: %s %q holds a colon or control characters, which a mount cannot", p.what, p.path)
		}
	}
	switch s.Front {
	case Socket, Konnectivity:
		return nil
	case TCP:
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
			return fmt.Errorf("selector: %q is no URL of the TLS port; give one such as https://127.0.0.1:7443", s.URL)
		}
		if _, _, err := net.SplitHostPort(u.Host); err != nil {
			return fmt.Errorf("selector: %q has no port; give one such as https://127.0.0.1:7443", s.URL)
		}
		return nil
	}
	return errors.New("selector: there is no such front end")
}

// Render is the file.
func (s Selection) Render() (string, error) {
	if err := s.Validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, line := range s.comments() {
		b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	b.WriteString("apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n- name: cluster\n  connection:\n")
	protocol := "HTTPConnect"
	if s.Front == Konnectivity {
		protocol = "GRPC"
	}
	fmt.Fprintf(&b, "    proxyProtocol: %s\n    transport:\n", protocol)
	if s.Front != TCP {
		fmt.Fprintf(&b, "      uds:\n        udsName: %s\n", scalar(s.Socket))
		return b.String(), nil
	}
	fmt.Fprintf(&b, "      tcp:\n        url: %s\n        tlsConfig:\n          caBundle: %s\n          clientCert: %s\n          clientKey: %s\n",
		s.URL, scalar(s.beside(caFile)), scalar(s.beside(certFile)), scalar(s.beside(keyFile)))
	return b.String(), nil
}

func (s Selection) beside(name string) string { return filepath.Join(filepath.Dir(s.File), name) }

// scalar is a text as YAML has it, quoted where it must be.
func scalar(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return s
	}
	return strconv.Quote(s)
}
