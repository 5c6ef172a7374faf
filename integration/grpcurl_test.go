package integration

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/integration/lab"
	"github.com/weft-net/weft/proto/join"
	_ "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The documentation's words for what differs on every fabric.
const (
	pageServer = "198.51.100.10:7443"
	pageFlags  = "$(weft grpcurl-flags)"
	pageSocket = "/run/weft/agent.sock"
	pageToken  = "a1b2c3"
	pageFile   = "ann." // of a key, and of a request for its certificate
)

// notPeoples are methods that people do not call.
var notPeoples = map[string]string{
	"weft.v1.Join":     "", // all of it: nodes
	"weft.v1.NodeSync": "",
	"weft.v1.Backups":  "ListHeld GetFile", // servers of each other
	"weft.v1.Egress":   "ListHeld",
	"weft.v1.Members":  "Join Add Acquire Release Inspect Defragment Ask TakeOut",
}

// Every method that people call stands on a page.
func TestEveryMethodHasALine(t *testing.T) {
	pages, err := filepath.Glob("../deploy/operating/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	said := text.String()
	methods := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("weft.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			others, some := notPeoples[string(s.FullName())]
			if some && others == "" {
				continue
			}
			for j := range s.Methods().Len() {
				name := string(s.Methods().Get(j).Name())
				methods++
				if !slices.Contains(strings.Fields(others), name) && !regexp.MustCompile(`(?m)^grpcurl .* `+regexp.QuoteMeta(string(s.FullName())+"/"+name)+`( |$)`).MatchString(said) {
					t.Errorf("no page has a grpcurl line for %s/%s", s.FullName(), name)
				}
			}
		}
		return true
	})
	if methods < 50 {
		t.Errorf("%d methods were found", methods)
	}
}

// grpcurlLines are the lines of a page that begin with grpcurl, or make what it is
// given with openssl. One that ends in
// "# not run: why" is left out.
func grpcurlLines(t *testing.T, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		line := strings.TrimPrefix(strings.TrimSpace(s.Text()), "$ ")
		if (strings.HasPrefix(line, "grpcurl ") || strings.HasPrefix(line, "openssl ")) && !strings.Contains(line, "# not run: ") {
			out = append(out, line)
		}
	}
	return out
}

// What the operators' pages say is one grpcurl call is one.
func TestGrpcurlLinesOfThePages(t *testing.T) {
	pages, err := filepath.Glob("../deploy/operating/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages (%v)", err)
	}
	slices.Sort(pages)
	bin, err := filepath.Abs("../bin")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	f, err := lab.NewFabric(ctx, bin, lab.Layout{Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := f.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	for _, h := range f.Nodes {
		if err := f.StartAgent(ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.InStep(ctx, 2); err != nil {
		t.Fatal(err)
	}
	token, err := f.Server.Run(ctx, "sh", "-c", "weft --config "+filepath.Join(f.ServerDir(), "admin.yaml")+" token create 2>/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	made, err := join.ParseToken(strings.TrimSpace(token))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.NewReplacer(
		pageServer, net4(f)+":7443", pageFlags, "$(weft --config "+filepath.Join(f.ServerDir(), "admin.yaml")+" grpcurl-flags)",
		pageToken, made.ID, pageFile, filepath.Join(t.TempDir(), pageFile), pageSocket, filepath.Join(f.Nodes[0].Dir(), "run/agent.sock"),
	)
	for _, page := range pages {
		for _, line := range grpcurlLines(t, page) {
			host := f.Server
			if strings.Contains(line, pageSocket) {
				host = f.Nodes[0]
			}
			out, err := host.Run(ctx, "sh", "-c", words.Replace(line))
			timed := strings.Contains(line, "-max-time") && err != nil && strings.Contains(out+err.Error(), "DeadlineExceeded")
			if err != nil && !timed {
				t.Errorf("%s: %s\n%s%v", filepath.Base(page), line, out, err)
			}
		}
	}
}

// net4 is the server's first IPv4 address.
func net4(f *lab.Fabric) string {
	for _, a := range f.NodeIPs(f.Server) {
		if !strings.Contains(a, ":") {
			return a
		}
	}
	return ""
}
