package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/weft-net/weft/cmd/weft/internal/fabrictest"
	"github.com/weft-net/weft/proto/intent"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

// TestScripts runs testdata/*.txtar, each against a fabric of its own. Besides
// testscript's own there are:
//
//	weft …             the tool, in this process; <FILE as last word gives standard input
//	exits N            the exit status of the last weft
//	fabric …           changes the fabric, see the function of this name
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			// A socket's path is at most 108 bytes (unix(7)), the script's folder is longer.
			dir, err := os.MkdirTemp("", "weft-t-")
			if err != nil {
				return err
			}
			e.Defer(func() { _ = os.RemoveAll(dir) })
			f, err := fabrictest.Start(dir)
			if err != nil {
				return err
			}
			e.Defer(f.Close)
			e.Values[fabricKey{}] = f
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("WEFT_CONFIG", f.Admin)
			e.Setenv("WEFT_AGENT_SOCKET", f.Socket)
			e.Setenv("XDG_CACHE_HOME", e.WorkDir+"/cache")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"weft": weft, "exits": exits, "fabric": fabric,
		},
	})
}

type fabricKey struct{}

func fabricOf(ts *testscript.TestScript) *fabrictest.Fabric {
	return ts.Value(fabricKey{}).(*fabrictest.Fabric)
}

// clock is fixed: ages in what scripts expect do not change.
func clock() time.Time { return time.Unix(fabrictest.Now, 0).UTC() }

func weft(ts *testscript.TestScript, neg bool, args []string) {
	var in io.Reader = strings.NewReader("")
	if n := len(args) - 1; n >= 0 && strings.HasPrefix(args[n], "<") {
		in, args = strings.NewReader(ts.ReadFile(args[n][1:])), args[:n]
	}
	for i, a := range args { // the script's folder is not the process's
		if (a == "-f" || a == "--config") && i+1 < len(args) && args[i+1] != "-" {
			args[i+1] = ts.MkAbs(args[i+1])
		}
	}
	var out, errs bytes.Buffer
	c := &cli{in: in, out: &out, err: &errs, env: ts.Getenv, now: clock}
	code := c.run(context.Background(), args)
	work := ts.Getenv("WORK") + "/"
	_, _ = io.WriteString(ts.Stdout(), strings.ReplaceAll(out.String(), work, ""))
	_, _ = io.WriteString(ts.Stderr(), strings.ReplaceAll(errs.String(), work, ""))
	ts.Setenv("EXIT", strconv.Itoa(code))
	if (code != 0) != neg {
		ts.Fatalf("weft %s: exit status %d\n%s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if got := ts.Getenv("EXIT"); len(args) != 1 || got != args[0] {
		ts.Fatalf("exit status %s, want %v", got, args)
	}
}

// fabric changes the fabric under a script:
//
//	fabric problem NODE SUBJECT CAUSE REMEDY
//	fabric looking NODE…           their agents have just begun
//	fabric lag NODE REVISION       the node has applied no more
//	fabric behind NODE…            whom WaitForRevision names
//	fabric refuse METHOD CODE MESSAGE
//	fabric plan FROM TO            what Plan answers: the backend changes
//	fabric ends                    watches end after what exists
//	fabric meshed                  pairs choose their way
//	fabric late                    answers say that the audit has no record yet
//	fabric tunnel NODE SERVER STATE STREAMS
//	fabric silent SERVER           its tunnels are not known
//	fabric forbid HOST:PORT STATUS CODE REASON
//	fabric agent                   n1's agent answers on its socket
//	fabric stop                    no server answers
func fabric(ts *testscript.TestScript, _ bool, args []string) {
	f := fabricOf(ts)
	switch args[0] {
	case "stop":
		f.StopServer()
		return
	case "agent":
		ts.Check(f.StartAgent())
		return
	}
	f.Lock()
	defer f.Unlock()
	switch args[0] {
	case "problem":
		p := &weftv1.Problem{
			Node: args[1], Subject: args[2], Cause: strings.ReplaceAll(args[3], `\n`, "\n"),
			Remedy: args[4], SinceUnix: fabrictest.Now - 130,
		}
		f.Problems = append(f.Problems, p)
		for _, n := range f.Nodes {
			if n.GetName() == p.GetNode() {
				n.Problems = append(n.Problems, p)
			}
		}
	case "looking":
		f.Looking = args[1:]
	case "lag":
		for _, n := range f.Nodes {
			if n.GetName() == args[1] {
				n.AppliedRevision, _ = strconv.ParseInt(args[2], 10, 64)
			}
		}
	case "behind":
		f.Behind = args[1:]
	case "refuse":
		var code codes.Code
		ts.Check(code.UnmarshalJSON([]byte(strconv.Quote(args[2]))))
		f.Refuse[args[1]] = status.Error(code, args[3])
	case "plan":
		f.PlanBackend(intent.Backend(args[1]), intent.Backend(args[2]))
	case "tunnel":
		streams, err := strconv.ParseUint(args[4], 10, 32)
		ts.Check(err)
		f.Tunnels = append(f.Tunnels, &weftv1.Tunnel{
			Node: args[1], Server: args[2], State: args[3], Streams: uint32(streams), SinceUnix: fabrictest.Now - 3600, RoundTripMicro: 31_400,
			Address: "203.0.113.7:41234", Instance: "I1", StreamsTotal: streams + 40, BytesSent: 5 << 20, BytesReceived: 900,
		})
	case "silent":
		f.Silent = append(f.Silent, args[1])
		f.Tunnels = append([]*weftv1.Tunnel{}, f.Tunnels...)
	case "forbid":
		code, err := strconv.Atoi(args[2])
		ts.Check(err)
		f.Refused[args[1]] = fabrictest.Refusal{Status: code, Code: args[3], Reason: args[4]}
	case "ends":
		f.Ends = true
	case "late":
		f.Late = true
	case "meshed":
		f.Meshed = true
	default:
		ts.Fatalf("fabric %s: %v", args[0], fmt.Errorf("unknown"))
	}
}
