package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/cmd/internal/config"
	"github.com/weft-net/weft/server"
	"github.com/weft-net/weft/server/egress/selector"
)

// egressCommand prints what a kube-apiserver needs to dial through nodes.
const egressCommand = "egress-config"

const egressHelp = `weft-server egress-config prints the EgressSelectorConfiguration by which a
kube-apiserver reaches nodes, services and pods through weft, with the lines that
kube-apiserver, K3s and RKE2 need as comments. It takes the flags of weft-server and
reads its file, so that it names the sockets that are served, and

      --front-end name   socket (HTTP CONNECT on a unix socket, default), tcp (the same on
                         the TLS port, with a client certificate) or konnectivity
      --file path        where the output will be; certificates of tcp are beside it
                         (default "/etc/weft/kube-apiserver/egress-selector.yaml")
      --url url          of tcp, where the kube-apiserver finds this server
                         (default https://127.0.0.1:<port of --listen>)
`

// runEgressConfig is `weft-server egress-config`.
func runEgressConfig(args []string, out, errs io.Writer) int {
	f := newFlags()
	front := f.set.String("front-end", string(selector.Socket), "`name` of the front end")
	file := f.set.String("file", "/etc/weft/kube-apiserver/egress-selector.yaml", "`path` of the output")
	at := f.set.String("url", "", "`URL` of this server")
	err := config.Load(f.set, args, config.Options{Name: "server", File: "/etc/weft/server.yaml"})
	if err == nil && f.wantHelp {
		fmt.Fprint(out, egressHelp)
		return exitOK
	}
	var c server.Config
	if err == nil {
		c, err = f.config()
	}
	var text string
	if err == nil {
		text, err = egressConfig(c, selector.Front(*front), *file, *at)
	}
	if err != nil {
		words := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "config: "), "selector: ")
		fmt.Fprintf(errs, "weft-server: %s\n", words)
		return exitUsage
	}
	fmt.Fprint(out, text)
	return exitOK
}

// egressConfig is the file for a server with these flags.
func egressConfig(c server.Config, front selector.Front, file, at string) (string, error) {
	s := selector.Selection{Front: front, File: file}
	var err error
	if s.Data, err = filepath.Abs(c.DataDir); err != nil {
		return "", err
	}
	switch front {
	case selector.Socket:
		if s.Socket = c.EgressSocketPath(); s.Socket == "" {
			return "", errors.New("--egress-socket is none: leave it out, here and where weft-server is started, or choose --front-end tcp")
		}
	case selector.Konnectivity:
		if s.Socket = c.KonnectivitySocketPath(); s.Socket == "" {
			return "", fmt.Errorf("there is no --konnectivity-socket: give one, here and where weft-server is started (or write it into /etc/weft/server.yaml), such as %s", filepath.Join(s.Data, "sockets", "konnectivity.sock"))
		}
	case selector.TCP:
		_, port, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return "", fmt.Errorf("--listen %q is no address with a port", c.Listen)
		}
		s.URL = cmp.Or(at, "https://"+net.JoinHostPort("127.0.0.1", port))
		return s.Render()
	default:
		return "", fmt.Errorf("--front-end: %q is none; accepted: %s, %s, %s", front, selector.Socket, selector.TCP, selector.Konnectivity)
	}
	if s.Socket, err = filepath.Abs(s.Socket); err != nil {
		return "", err
	}
	return s.Render()
}
