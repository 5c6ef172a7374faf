package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestEgressConfig(t *testing.T) {
	t.Setenv("WEFT_SERVER_CONFIG", "")
	for _, c := range []struct{ args, want string }{
		{"--data-dir /srv/weft", "udsName: /srv/weft/egress.sock\n"},
		{"--egress-socket /run/w/e.sock", "udsName: /run/w/e.sock\n"},
		{"--front-end konnectivity --konnectivity-socket /run/w/k.sock", "proxyProtocol: GRPC\n    transport:\n      uds:\n        udsName: /run/w/k.sock\n"},
		{"--front-end tcp --listen 0.0.0.0:8443 --file /srv/k/e.yaml", "url: https://127.0.0.1:8443\n        tlsConfig:\n          caBundle: /srv/k/ca.pem\n"},
		{"--front-end tcp --url https://s1:7443", "url: https://s1:7443\n"},
		{"--help", "--front-end name"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{egressCommand}, strings.Fields(c.args)...), &out, &errs); code != exitOK || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %d\n%s%s\nwant %s", c.args, code, errs.String(), out.String(), c.want)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"--front-end grpc", `--front-end: "grpc" is none; accepted: socket, tcp, konnectivity`},
		{"--front-end konnectivity", "there is no --konnectivity-socket: give one, here and where weft-server is started"},
		{"--egress-socket none", "--egress-socket is none: leave it out"},
		{"--front-end tcp --url s1", `"s1" is no URL of the TLS port`},
		{"--file e.yaml", `the file "e.yaml" is no absolute path`},
		{"--egress-sock /x", "unknown flag: --egress-sock"},
	} {
		var out, errs bytes.Buffer
		if code := run(append([]string{egressCommand}, strings.Fields(c.args)...), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), c.want) || out.Len() > 0 {
			t.Errorf("%s: %d\n%s%s\nwant %s", c.args, code, errs.String(), out.String(), c.want)
		}
	}
}
