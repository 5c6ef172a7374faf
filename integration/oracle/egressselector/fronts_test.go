package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/integration/lab"
)

// patience bounds one step of a test.
const patience = 2 * time.Minute

// A kube-apiserver's own package reads what weft-server prints for each front end,
// and reaches a pod of a node behind NAT through it; what is refused says why.
func TestFrontEnds(t *testing.T) {
	bin, err := filepath.Abs("../../../bin")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	f, err := lab.NewFabric(ctx, bin, lab.Layout{Nodes: 1, Behind: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	konnectivity := filepath.Join(f.ServerDir(), "sockets", "k.sock")
	if err := f.StartServer(ctx, "--egress-selector-mode", "pod", "--konnectivity-socket", konnectivity); err != nil {
		t.Fatal(err)
	}
	if err := f.StartAgent(ctx, f.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.InStep(ctx, 1); err != nil {
		t.Fatal(err)
	}
	pod, err := f.NewPod(ctx, f.Nodes[0], "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(f.Dir, "kube")
	if out, err := f.Weft(ctx, "user", "create", "kube-apiserver", "--role", "dialer", "--pem", folder); err != nil {
		t.Fatal(out, err)
	}
	const (
		metadata = "169.254.169.254:80 is the instance metadata of most clouds, and "
		here     = metadata + "an EgressPolicy with role local must allow that address by itself"
		away     = metadata + "would be server s1's own" // who comes over TLS may be on another machine
	)
	for front, special := range map[string]string{"socket": here, "tcp": away, "konnectivity": here} {
		t.Run(front, func(t *testing.T) {
			file := filepath.Join(folder, front+".yaml")
			through := apiserver{t: t, f: f, file: file}
			text, err := f.Server.Run(ctx, "weft-server", "egress-config", "--front-end", front, "--file", file,
				"--data-dir", f.ServerDir(), "--konnectivity-socket", konnectivity)
			if err != nil {
				t.Fatal(text, err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, addr := range pod.Addrs {
				at := netip.AddrPortFrom(addr, 8080)
				web, err := lab.StartWeb(pod.Host, at)
				if err != nil {
					t.Fatal(err)
				}
				through.hears(ctx, "http://"+at.String()+"/", "this is n1-web, asked on "+at.String())
				web.Close()
			}
			through.refused(ctx, "http://169.254.169.254/", special)
			through.refused(ctx, fmt.Sprintf("http://%v/", netip.AddrPortFrom(pod.Addrs[0], 9)), "node n1: "+netip.AddrPortFrom(pod.Addrs[0], 9).String()+": connection refused")
		})
	}
}

// apiserver is a kube-apiserver on the server's machine.
type apiserver struct {
	t    *testing.T
	f    *lab.Fabric
	file string
}

func (a apiserver) hears(ctx context.Context, url, want string) {
	a.t.Helper()
	out, err := a.f.Server.Run(ctx, program(a.t), a.file, url)
	if err != nil || !strings.Contains(out, want) {
		a.t.Errorf("%s: %v\n%s\nwant %s", url, err, out, want)
	}
}

func (a apiserver) refused(ctx context.Context, url, why string) {
	a.t.Helper()
	out, err := a.f.Server.Run(ctx, program(a.t), a.file, url)
	if err == nil || !strings.Contains(out+err.Error(), why) {
		a.t.Errorf("%s: %v\n%s\nwant %s", url, err, out, why)
	}
}

// asProgram makes this test binary the command.
const asProgram = "TEST_AS_EGRESSSELECTOR"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is the command, for whoever has this process's environment.
func program(t *testing.T) string {
	t.Setenv(asProgram, "1")
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
