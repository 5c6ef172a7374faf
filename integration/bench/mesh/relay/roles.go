package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/weft-net/weft/agent/mesh"
	arelay "github.com/weft-net/weft/agent/relay"
	"github.com/weft-net/weft/proto/intent"
	wire "github.com/weft-net/weft/proto/relay"
	srelay "github.com/weft-net/weft/server/relay"
	"github.com/weft-net/weft/tunnel"
)

// ready says so, and waits until the one that measures is done.
func ready(ctx context.Context) {
	_, _ = os.Stdout.WriteString("ready\n")
	gone := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(gone) }()
	select {
	case <-ctx.Done():
	case <-gone:
	}
}

// profiled runs f under a CPU profile, if there is a folder for it.
func profiled(folder, name string, f func(ctx context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if folder == "" {
		return f(ctx)
	}
	out, err := os.Create(filepath.Join(folder, name+".prof"))
	if err != nil {
		return err
	}
	defer out.Close()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return f(ctx)
}

// server is a relay that believes the names of certificates.
func server(args []string, profile string) error {
	addr, dir := args[0], args[1]
	return profiled(profile, "server", func(ctx context.Context) error {
		cert, roots, err := load(dir, "s1")
		if err != nil {
			return err
		}
		r := srelay.New(srelay.Config{Server: "s1", Hold: func(ctx context.Context, req *http.Request) (string, context.Context, func(), error) {
			return req.TLS.PeerCertificates[0].Subject.CommonName, ctx, func() {}, nil
		}})
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		l = tls.NewListener(corks{l}, &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS13,
			NextProtos: []string{"http/1.1"}, DynamicRecordSizingDisabled: true,
		})
		srv := &http.Server{Handler: r}
		go func() { _ = srv.Serve(l) }()
		ready(ctx)
		return srv.Close()
	})
}

// corks puts a cork beneath the TLS of each connection, as the server's port does.
type corks struct{ net.Listener }

func (c corks) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tunnel.NewCork(conn), nil
}

// agent is a node's end of the relay.
func agent(args []string, profile string) error {
	name, peer, port, dir := args[0], args[1], args[2], args[3]
	return profiled(profile, "agent-"+name, func(ctx context.Context) error {
		at, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return err
		}
		device, err := strconv.ParseUint(wgPort, 10, 16)
		if err != nil {
			return err
		}
		r, err := arelay.New(arelay.Config{
			Node: name, Folder: folder{peer, uint16(at)}, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			Device: func(slot uint8) uint16 { return uint16(device) },
			Intent: func() (intent.Node, bool) {
				return intent.Node{Name: name, Peers: []intent.Peer{{Name: "a"}, {Name: "b"}}}, true
			},
			Straight: func(string) bool { return true },
			Secret:   func(string, uint8) ([32]byte, bool) { return [32]byte{}, false },
			Probe:    func(mesh.Via, string, uint8, []byte) {}, OnChange: func() {},
		})
		if err != nil {
			return err
		}
		go func() { _ = r.Run(ctx) }()
		if err := connect(ctx, r, name, dir); err != nil {
			return err
		}
		if got, err := r.Endpoint(peer, 0); err != nil || got != netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(at)) {
			return errors.Join(err, errors.New("the port is not the one that was remembered"))
		}
		ready(ctx)
		s, _ := json.Marshal(r.Stats())
		_, _ = os.Stderr.WriteString(name + " " + string(s) + "\n")
		return nil
	})
}

// connect opens the connection to the server's relay.
func connect(ctx context.Context, r *arelay.Relay, name, dir string) error {
	cert, roots, err := load(dir, name)
	if err != nil {
		return err
	}
	var raw net.Conn
	if raw, err = net.Dial("tcp", serverAddr+":"+serverPort); err != nil {
		return err
	}
	conn := tls.Client(tunnel.NewCork(raw), &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: roots, ServerName: "s1", MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}, DynamicRecordSizingDisabled: true,
	})
	cfg, serve := r.Tunnel()
	h := http.Header{wire.HeaderInstance: {name}, wire.HeaderProtocol: {"2"}}
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, _, err := tunnel.Dial(within, conn, "wss://s1"+wire.Path, h, cfg)
	if err != nil {
		return err
	}
	go serve(ctx, c, "s1")
	for len(r.Servers()) == 0 {
		time.Sleep(time.Millisecond)
	}
	return nil
}

// folder remembers one port.
type folder struct {
	peer string
	port uint16
}

func (f folder) Read(string) ([]byte, error) {
	return json.Marshal(map[string]any{"schema": 1, "ports": []map[string]any{{"peer": f.peer, "slot": 0, "port": f.port}}})
}
func (folder) Write(string, []byte) error      { return nil }
func (folder) SetAside(string) (string, error) { return "", fs.ErrNotExist }

// load reads a certificate that certificates has made, and whom to trust.
func load(dir, name string) (tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		return cert, nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return cert, nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return cert, roots, nil
}
