package proxy

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEnvironment: variables and a server, and the proxy that it is reached through.
func TestEnvironment(t *testing.T) {
	for _, tt := range []struct{ environment, server, want string }{
		{"", "s1:7443", "direct"},
		{"HTTP_PROXY=http://p:3128", "s1:7443", "direct"},
		{"HTTPS_PROXY=http://p:3128", "s1:7443", "http://p:3128"},
		{"https_proxy=http://p:3128", "s1:7443", "http://p:3128"},
		{"https_proxy=http://lower:1 HTTPS_PROXY=http://upper:2", "s1:7443", "http://lower:1"},
		{"HTTPS_PROXY=p:3128", "s1:7443", "http://p:3128"},
		{"HTTPS_PROXY=10.0.0.1:3128", "s1:7443", "http://10.0.0.1:3128"},
		{"HTTPS_PROXY=http://[2001:db8::1]:3128", "s1:7443", "http://[2001:db8::1]:3128"},
		{"HTTPS_PROXY=http://p", "s1:7443", "http://p:80"},
		{"HTTPS_PROXY=https://p/", "s1:7443", "https://p:443"},
		{"HTTPS_PROXY=http://ops:hunter2@p:3128", "s1:7443", "http://p:3128"},
		{"HTTPS_PROXY=http://p:3128 NO_PROXY=s1", "s1:7443", "direct"},
		{"HTTPS_PROXY=http://p:3128 no_proxy=.example,s2", "s1.example:7443", "direct"},
		{"HTTPS_PROXY=http://p:3128 NO_PROXY=.example", "s1.example.com:7443", "http://p:3128"},
		{"HTTPS_PROXY=http://p:3128 NO_PROXY=10.0.0.0/8", "10.1.2.3:7443", "direct"},
		{"HTTPS_PROXY=http://p:3128 NO_PROXY=10.0.0.0/8", "192.0.2.1:7443", "http://p:3128"},
		{"HTTPS_PROXY=http://p:3128 NO_PROXY=fd00::/8", "[fd00::1]:7443", "direct"},
		{"HTTPS_PROXY=http://p:3128 NO_PROXY=s1:443", "s1:7443", "http://p:3128"},
		{"HTTPS_PROXY=http://p:3128 NO_PROXY=*", "s1:7443", "direct"},
		{"HTTPS_PROXY=http://p:3128", "127.0.0.1:7443", "direct"},
		{"HTTPS_PROXY=socks5://p:1080", "s1:7443", `proxy: HTTPS_PROXY: a proxy of scheme "socks5" is not spoken to, only http and https; write http://HOST:PORT, with credentials http://USER:PASSWORD@HOST:PORT`},
		{"HTTPS_PROXY=http://ops:hunter2@p:3128/path", "s1:7443", `proxy: HTTPS_PROXY: "http://ops:xxxxx@p:3128/path" names no proxy; write http://HOST:PORT, with credentials http://USER:PASSWORD@HOST:PORT`},
		{"HTTPS_PROXY=http://ops:hun%zz@p:3128", "s1:7443", "proxy: HTTPS_PROXY: this is no URL; write http://HOST:PORT, with credentials http://USER:PASSWORD@HOST:PORT"},
		{"HTTPS_PROXY=http://:3128", "s1:7443", `proxy: HTTPS_PROXY: "http://:3128" names no proxy; write http://HOST:PORT, with credentials http://USER:PASSWORD@HOST:PORT`},
	} {
		e, err := FromEnvironment(func(name string) string {
			for _, v := range strings.Fields(tt.environment) {
				if n, value, _ := strings.Cut(v, "="); n == name {
					return value
				}
			}
			return ""
		})
		got := "direct"
		if err != nil {
			got = err.Error()
		} else if p := e.For(tt.server); p != nil {
			got = p.String()
		}
		if got != tt.want {
			t.Errorf("%s, %s:\n got %s\nwant %s", tt.environment, tt.server, got, tt.want)
		}
	}
}

func at(t *testing.T, url string) *Proxy {
	t.Helper()
	p, err := parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAnswers: what a proxy answers, and what is said of it and to be done.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		url, answer, want, do string
		decided               bool
	}{
		{"http://p:3128", "HTTP/1.1 200 Connection established\r\n\r\n", "", "", false},
		{
			"http://p:3128", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Type: text/html\r\n\r\n<html>",
			"proxy: http://p:3128 to server s1:7443: 407 Proxy Authentication Required",
			"put a user and password that the proxy takes into HTTPS_PROXY, as http://USER:PASSWORD@p:3128", true,
		},
		{
			"http://ops:hunter2@p:3128", "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
			"proxy: http://p:3128 to server s1:7443: 407 Proxy Authentication Required",
			"put a user and password that the proxy takes into HTTPS_PROXY, as http://USER:PASSWORD@p:3128; it refuses those that are there", true,
		},
		{
			"http://p:3128", "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n\r\nport 7443 is blocked\n",
			"proxy: http://p:3128 to server s1:7443: 403 Forbidden: port 7443 is blocked",
			"have the proxy allow CONNECT to s1:7443 (many allow port 443 only), or name the server in NO_PROXY if it can be reached directly", true,
		},
		{
			"http://p:3128", "HTTP/1.1 503 Service Unavailable\r\n\r\nno address for s1",
			"proxy: http://p:3128 to server s1:7443: 503 Service Unavailable: no address for s1",
			"the proxy does not reach s1:7443: look at the server, and at what drops its port behind the proxy", false,
		},
		{
			"http://p:3128", "220 mail ESMTP\r\n",
			`proxy: http://p:3128 to server s1:7443: connect: the answer to CONNECT is no HTTP: malformed HTTP status code "mail"`,
			"look at the proxy, and whether HTTPS_PROXY is right; or name the server in NO_PROXY if it can be reached directly", false,
		},
		{
			"http://p:3128", "",
			"proxy: http://p:3128 to server s1:7443: connect: the connection was closed instead of an answer to CONNECT",
			"look at the proxy, and whether HTTPS_PROXY is right; or name the server in NO_PROXY if it can be reached directly", false,
		},
	} {
		p := at(t, tt.url)
		ours, theirs := net.Pipe()
		asked := make(chan *http.Request, 1)
		go func() {
			r, _ := http.ReadRequest(bufio.NewReader(theirs))
			_, _ = io.WriteString(theirs, tt.answer)
			theirs.Close()
			asked <- r
		}()
		conn, err := p.Connect(t.Context(), ours, "s1:7443")
		if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
		if e, ok := err.(*Error); ok && (e.Remedy != tt.do || e.Decided() != tt.decided) {
			t.Errorf("do %s, decided %v\nwant %s", e.Remedy, e.Decided(), tt.do)
		}
		if conn != nil {
			conn.Close()
		} else if _, err := ours.Write([]byte{0}); err == nil {
			t.Error("the connection was left open")
		}
		r := <-asked
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		if wantUser, wantPassword := credentials(tt.url); r.RequestURI != "s1:7443" || user != wantUser || password != wantPassword {
			t.Errorf("asked for %s with %q:%q", r.RequestURI, user, password)
		}
	}
}

func credentials(url string) (user, password string) {
	if strings.Contains(url, "@") {
		return "ops", "hunter2"
	}
	return "", ""
}

// TestSilentProxy: one that hangs is left when the context ends.
func TestSilentProxy(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			_, err := at(t, scheme+"://p:3128").Connect(ctx, ours, "s1:7443")
			if took := time.Since(began); err == nil || took != 5*time.Second {
				t.Errorf("%s: %v after %v", scheme, err, took)
			}
		})
	}
}

// TestProxyInTLS: the credentials go inside, and whoever is not the proxy by name
// hears nothing.
func TestProxyInTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"p"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, want string }{
		{"https://ops:hunter2@p:3128", ""},
		{"https://ops:hunter2@q:3128", "proxy: https://q:3128 to server s1:7443: TLS with the proxy: tls: failed to verify certificate: x509: certificate is valid for p, not q"},
	} {
		p := at(t, tt.url)
		p.roots = x509.NewCertPool()
		p.roots.AddCert(cert)
		ours, theirs := net.Pipe()
		done := make(chan string, 1)
		go func() {
			defer theirs.Close()
			inside := tls.Server(theirs, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
			r, err := http.ReadRequest(bufio.NewReader(inside))
			if err != nil {
				done <- "nothing"
				return
			}
			_, _ = io.WriteString(inside, "HTTP/1.1 200 OK\r\n\r\n")
			done <- r.Header.Get("Proxy-Authorization")
		}()
		conn, err := p.Connect(t.Context(), ours, "s1:7443")
		if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
		heard := <-done
		if (heard == "nothing") != (err != nil) {
			t.Errorf("%s: the proxy heard %s", tt.url, heard)
		}
		if conn != nil {
			conn.Close()
		}
	}
}
