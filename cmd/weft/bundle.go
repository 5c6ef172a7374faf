package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"golang.org/x/sync/errgroup"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Bounds on a bundle.
const (
	maxBundled = 20 // nodes that are asked when none is named
	askAtOnce  = 8
)

func (c *cli) debugCommand() *cobra.Command {
	debug := &cobra.Command{
		Use:     "debug",
		Short:   "What somebody who helps needs to see",
		GroupID: groupFabric,
		Args:    unknownCommand,
		RunE:    subcommandNeeded,
	}
	var path string
	var nodes []string
	bundle := &cobra.Command{
		Use:   "bundle",
		Short: "Write all that helps to find a fault into one file, without secrets",
		Long: "Write status, objects, events, audit, and of servers and nodes configuration, logs, intent,\n" +
			"kernel objects, drift and repairs into one file. Secrets are left out: tokens, keys and\n" +
			"passwords are never in what is asked, and what looks like one is replaced by (secret).\n" +
			"What cannot be asked is named in errors.txt; the rest is there.",
		Example: "  weft debug bundle\n  weft debug bundle --node n1,n7 -o case-4711.tar.gz",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.bundle(cmd.Context(), path, nodes) },
	}
	bundle.Flags().StringVarP(&path, "output", "o", "", "file to write (default: weft-debug-<time>.tar.gz)")
	bundle.Flags().StringSliceVar(&nodes, "node", nil, fmt.Sprintf("ask these nodes (default: all, or of more than %d those with problems)", maxBundled))
	debug.AddCommand(bundle)
	return debug
}

// gathering is a bundle that is being filled. It is safe for concurrent use.
type gathering struct {
	mu    sync.Mutex
	files map[string]string
	errs  []string
}

func (g *gathering) add(name, content string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files[name] = note.Redact(content)
}

func (g *gathering) failed(what string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errs = append(g.errs, note.Redact(what+": "+err.Error()))
}

// message adds an answer as JSON, or its absence.
func (g *gathering) message(name string, m proto.Message, err error) {
	if err != nil {
		g.failed(name, err)
		return
	}
	b, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(m)
	if err != nil {
		g.failed(name, err)
		return
	}
	g.add(name, string(b)+"\n")
}

func (g *gathering) lines(name string, lines []string, err error) {
	if err != nil {
		g.failed(name, err)
		return
	}
	g.add(name, strings.Join(append(lines, ""), "\n"))
}

func (c *cli) bundle(ctx context.Context, path string, nodes []string) error {
	path = cmp.Or(path, "weft-debug-"+c.now().UTC().Format("20060102-150405")+".tar.gz")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	g := &gathering{files: map[string]string{}}
	asked := c.gather(ctx, g, nodes)
	if ctx.Err() == nil && len(g.files) > 0 {
		err = g.write(f, c.now())
	} else {
		err = errors.Join(ctx.Err(), asked)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	for _, e := range g.errs {
		c.say("not in it: %s", e)
	}
	return c.printf("%s: %d files\n", path, len(g.files))
}

// gather asks servers, then nodes, and this node's agent if there is one.
func (c *cli) gather(ctx context.Context, g *gathering, nodes []string) error {
	g.add("version.txt", "weft "+note.Version+"\n")
	if client, err := c.agentClient(); err == nil {
		c.gatherLocal(ctx, g, client)
	}
	conn, err := c.dial()
	if err != nil {
		g.failed("servers", err)
		return err
	}
	status, err := weftv1.NewStatusClient(conn).Get(ctx, &weftv1.StatusGetRequest{})
	g.message("fabric/status.json", status, err)
	if _, silent := unreachable(grpcstatus.Convert(err).Message()); err != nil && silent {
		return err // the rest would fail alike, each after its time
	}
	events, err := weftv1.NewEventsClient(conn).List(ctx, &weftv1.EventsListRequest{})
	g.message("fabric/events.json", events, err)
	audit, err := weftv1.NewAuditClient(conn).List(ctx, &weftv1.AuditListRequest{})
	g.message("fabric/audit.json", audit, err)
	tokens, err := weftv1.NewTokensClient(conn).List(ctx, &weftv1.TokensListRequest{})
	g.message("fabric/tokens.json", tokens, err)
	mesh, err := weftv1.NewMeshClient(conn).Matrix(ctx, &weftv1.MatrixRequest{})
	g.message("fabric/mesh.json", mesh, err)
	list, err := weftv1.NewNodesClient(conn).List(ctx, &weftv1.NodesListRequest{})
	g.message("fabric/nodes.json", list, err)
	c.gatherObjects(ctx, g)
	for _, s := range status.GetServers() {
		c.gatherServer(ctx, g, s.GetName())
	}
	var work errgroup.Group
	work.SetLimit(askAtOnce)
	for _, name := range chosen(list.GetNodes(), nodes) {
		work.Go(func() error { c.gatherNode(ctx, g, name); return nil })
	}
	return work.Wait()
}

// chosen are the nodes to ask.
func chosen(all []*weftv1.NodeStatus, named []string) []string {
	if len(named) > 0 {
		return named
	}
	var out []string
	for _, n := range all {
		if len(all) <= maxBundled || len(n.GetProblems()) > 0 {
			out = append(out, n.GetName())
		}
	}
	return out[:min(len(out), maxBundled)]
}

func (c *cli) gatherObjects(ctx context.Context, g *gathering) {
	k, err := c.known(ctx)
	if err != nil {
		g.failed("fabric/objects", err)
		return
	}
	for _, kind := range k.all {
		name := "fabric/objects/" + kind.GetPlural() + ".yaml"
		items, err := c.fetch(ctx, selection{}, target{kind: kind})
		if err != nil {
			g.failed(name, err)
			continue
		}
		var b strings.Builder
		for _, item := range items {
			text, err := document.YAML(document.Of(item))
			if err != nil {
				g.failed(name, err)
				continue
			}
			b.WriteString("---\n" + string(text))
		}
		g.add(name, b.String())
	}
}

func (c *cli) gatherServer(ctx context.Context, g *gathering, name string) {
	conn, err := c.dialFor(ctx, name)
	if err != nil {
		g.failed("servers/"+name, err)
		return
	}
	client := weftv1.NewDiagnoseClient(conn)
	log, err := client.ListLog(ctx, &weftv1.DiagnoseListLogRequest{Server: name})
	g.lines("servers/"+name+"/log.txt", log.GetLines(), err)
	config, err := client.GetConfig(ctx, &weftv1.DiagnoseGetConfigRequest{Server: name})
	g.lines("servers/"+name+"/config.txt", config.GetLines(), err)
}

func (c *cli) gatherNode(ctx context.Context, g *gathering, name string) {
	dir := "nodes/" + name + "/"
	client := weftv1.NewNodesClient(c.conn)
	intent, err := client.GetIntent(ctx, &weftv1.NodesGetIntentRequest{Node: name})
	g.lines(dir+"intent.txt", intent.GetText(), err)
	diagnose := weftv1.NewDiagnoseClient(c.conn)
	status, err := diagnose.GetAgentStatus(ctx, &weftv1.GetAgentStatusRequest{Node: name})
	g.message(dir+"status.json", status, err)
	if err != nil {
		return // it is away, and the rest would fail alike
	}
	kernel, err := client.GetKernel(ctx, &weftv1.NodesGetKernelRequest{Node: name})
	g.lines(dir+"kernel.txt", kernel.GetObjects(), err)
	drift, err := client.GetDrift(ctx, &weftv1.NodesGetDriftRequest{Node: name})
	g.lines(dir+"drift.txt", drift.GetSteps(), err)
	heals, err := diagnose.ListHeals(ctx, &weftv1.DiagnoseListHealsRequest{Node: name})
	g.message(dir+"heals.json", heals, err)
	log, err := diagnose.ListLog(ctx, &weftv1.DiagnoseListLogRequest{Node: name})
	g.lines(dir+"log.txt", log.GetLines(), err)
	config, err := diagnose.GetConfig(ctx, &weftv1.DiagnoseGetConfigRequest{Node: name})
	g.lines(dir+"config.txt", config.GetLines(), err)
}

func (c *cli) gatherLocal(ctx context.Context, g *gathering, client weftv1.AgentClient) {
	status, err := client.GetStatus(ctx, &weftv1.GetStatusRequest{})
	g.message("local/status.json", status, err)
	if err != nil {
		return
	}
	intent, err := client.GetIntent(ctx, &weftv1.GetIntentRequest{})
	g.lines("local/intent.txt", intent.GetText(), err)
	kernel, err := client.GetKernel(ctx, &weftv1.GetKernelRequest{})
	g.lines("local/kernel.txt", kernel.GetObjects(), err)
	drift, err := client.GetDrift(ctx, &weftv1.GetDriftRequest{})
	g.lines("local/drift.txt", drift.GetSteps(), err)
	heals, err := client.ListHeals(ctx, &weftv1.ListHealsRequest{})
	g.message("local/heals.json", heals, err)
	endpoints, err := client.ListEndpoints(ctx, &weftv1.ListEndpointsRequest{})
	g.message("local/endpoints.json", endpoints, err)
	log, err := client.ListLog(ctx, &weftv1.ListLogRequest{})
	g.lines("local/log.txt", log.GetLines(), err)
	config, err := client.GetConfig(ctx, &weftv1.GetConfigRequest{})
	g.lines("local/config.txt", config.GetLines(), err)
}

// write makes the file: a folder with everything, by name.
func (g *gathering) write(f *os.File, at time.Time) error {
	if len(g.errs) > 0 {
		slices.Sort(g.errs)
		g.files["errors.txt"] = strings.Join(append(g.errs, ""), "\n")
	}
	var names []string
	for name := range g.files {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for _, name := range names {
		content := g.files[name]
		h := &tar.Header{Name: "weft-debug/" + name, Mode: 0o600, Size: int64(len(content)), ModTime: at}
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			return err
		}
	}
	if err := errors.Join(archive.Close(), zip.Close()); err != nil {
		return err
	}
	_, err := f.Write(out.Bytes())
	return err
}
