package main

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

// Each line is what a stream says, the streams apart by "break"; = what is told.
func TestResumption(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"existing a.1; existing b.1; synced", "existing a.1; existing b.1; synced"},
		{"existing a.1; synced; configured a.2; created c.2", "existing a.1; synced; configured a.2; created c.2"},
		{"existing a.1; synced; break; existing a.1; synced; deleted a.1", "existing a.1; synced; deleted a.1"},
		{"existing a.1; existing b.1; synced; break; existing b.2; existing c.3; synced", "existing a.1; existing b.1; synced; configured b.2; created c.3; deleted a.1"},
		{"existing a.1; synced; deleted a.1; break; synced", "existing a.1; synced; deleted a.1"},
		{"existing a.1; synced; deleted a.1; break; existing a.5; synced", "existing a.1; synced; deleted a.1; created a.5"},
		{"existing a.1; break; existing a.1; existing b.1; synced", "existing a.1; existing b.1; synced"},
		{"existing a.1; synced; break; existing b.1; break; existing a.1; existing b.1; synced", "existing a.1; synced; created b.1"},
		{"created a.1; synced", "existing a.1; synced"},                                               // a server that keeps no order
		{"existing a.9; synced; break; existing a.3; synced", "existing a.9; synced; configured a.3"}, // a restore
	} {
		var got []string
		r := resumption{fn: func(e *weftv1.WatchResponse) error {
			got = append(got, strings.TrimSpace(e.GetVerb()+" "+e.GetItem().GetMetadata().GetName()+strings.TrimPrefix("."+e.GetItem().GetSpec().GetFields()["x"].GetStringValue(), ".")))
			return nil
		}}
		for line := range strings.SplitSeq(c.in, "; ") {
			verb, object, _ := strings.Cut(line, " ")
			if verb == "break" {
				r.begin()
				continue
			}
			if err := r.take(&weftv1.WatchResponse{Verb: verb, Item: thing(object)}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(strings.ReplaceAll(c.want, ".", ""), strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s:\n%s", c.in, diff)
		}
	}
}

// thing is an object by name and what is in it: a.1.
func thing(text string) *weftv1.Resource {
	name, x, ok := strings.Cut(text, ".")
	if !ok {
		return nil
	}
	return &weftv1.Resource{Kind: "Lease", Metadata: &weftv1.Metadata{Name: name}, Spec: &structpb.Struct{Fields: map[string]*structpb.Value{"x": structpb.NewStringValue(x)}}}
}

// TestWatchGoesOnWithTheNextServer: what was told is not told again, what changes
// afterwards is.
func TestWatchGoesOnWithTheNextServer(t *testing.T) {
	f := start(t)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	out, errs := make(lines), make(lines, 64)
	watching := f.cli()
	watching.out, watching.err = out, errs
	done := make(chan int)
	go func() { done <- watching.run(ctx, []string{"get", "leases", "-w", "--no-headers"}) }()
	got := []string{<-out, <-out}
	f.StopServer()
	if said := <-errs; !strings.HasSuffix(said, "; trying again") {
		t.Error(said)
	}
	if err := f.StartServer(); err != nil {
		t.Fatal(err)
	}
	if code := f.cli().run(ctx, []string{"delete", "lease", "n1"}); code != 0 {
		t.Fatal(f.err.String())
	}
	got = append(got, <-out)
	if want := got[:1]; !cmp.Equal(want, got[2:]) {
		t.Error(got)
	}
	end()
	if code := <-done; code != 0 {
		t.Errorf("exit status %d after Ctrl-C", code)
	}
}
