package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

const statusName = "status"

// Exit status of weft status.
const (
	exitProblems  = 1
	exitCannotAsk = 2
)

func (c *cli) statusCommand() *cobra.Command {
	var o output
	var local bool
	cmd := &cobra.Command{
		Use:   statusName,
		Short: "How the fabric is; exit status 1 with problems, 2 when it could not be asked",
		Long: "How the fabric is: servers, store, nodes in step, paths, what is wrong and what to do.\n" +
			"On a node, when no server can be asked, this node's agent answers instead.\n\n" +
			"Exit status: 0 all is well, 1 there are problems, 2 nobody could be asked.",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if local {
				return c.nodeStatus(cmd.Context(), &o, nil)
			}
			err := c.fabricStatus(cmd.Context(), &o)
			var done *exit
			if err == nil || errors.As(err, &done) || cmd.Context().Err() != nil {
				return err
			}
			return c.nodeStatus(cmd.Context(), &o, err)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&local, "local", false, "ask this node's agent only")
	return cmd
}

// report is all that status asks a server.
type report struct {
	*weftv1.StatusGetResponse
	nodes []*weftv1.NodeStatus
	pairs []*weftv1.PairPath // with -o wide

	tunnels string // in a line; empty: the server does not tell
}

func (c *cli) fabricStatus(ctx context.Context, o *output) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := weftv1.NewStatusClient(conn).Get(ctx, &weftv1.StatusGetRequest{})
	if err != nil {
		return err
	}
	if o.isData() {
		err = c.printMessage(o, answer)
	} else {
		r := report{StatusGetResponse: answer}
		if err = r.more(ctx, c, conn, o); err == nil {
			err = c.printf("%s", c.fabricText(o, &r))
		}
	}
	if err != nil {
		return &exit{exitCannotAsk, err}
	}
	if len(answer.GetProblems()) > 0 {
		return &exit{code: exitProblems}
	}
	return nil
}

func (c *cli) fabricText(o *output, r *report) string {
	var b strings.Builder
	inStep := fmt.Sprintf("%d of %d nodes in step", r.GetNodesInStep(), r.GetNodes())
	if since := r.GetSilentSinceUnix(); since != 0 {
		title(&b, "MEMORY", "%s", c.memoryText(since, r.GetServer()))
		inStep = inStepText(r)
	}
	title(&b, "fabric", "%s  epoch %s  revision %d   %s   %s", orDash(r.GetFabric()), epochText(r.GetEpochOrdinal(), r.GetEpoch()), r.GetRevision(), inStep, c.problemCount(len(r.GetProblems()), len(r.GetLooking()) > 0))
	var servers []string
	for _, s := range r.GetServers() {
		servers = append(servers, serverText(s, r.GetSilentSinceUnix() != 0))
	}
	title(&b, "servers", "%s", orDash(strings.Join(servers, "   ")))
	title(&b, "etcd", "%s%s", etcdText(r.GetEtcd()), c.backupText(r.GetBackups()))
	title(&b, "certs", "CA until %s%s", day(r.GetCaEndsUnix()), c.firstText(r.GetFirstToEnd()))
	title(&b, "paths", "%s", pathText(r.GetPaths()))
	if r.tunnels != "" {
		title(&b, "tunnels", "%s", r.tunnels)
	}
	if looking := r.GetLooking(); len(looking) > 0 {
		title(&b, "looking", "%s", lookingText(looking))
	}
	if behind := c.behindText(r); behind != "" {
		title(&b, "behind", "%s", behind)
	}
	if len(r.GetProblems()) > 0 {
		b.WriteString(c.problemTable(r.GetProblems(), true))
	}
	if o.format == asWide {
		b.WriteString("\n" + c.nodesText(o, r))
		if len(r.pairs) > 0 {
			b.WriteString("\n" + pairTable(r.pairs).Text(o.noHeaders))
		}
	}
	return b.String()
}

// serverText is a server in a few words. One that joins has not said where it is,
// and of which release.
func serverText(s *weftv1.ServerStatus, silent bool) string {
	words := []string{s.GetName(), orDash(s.GetAddress())}
	switch state := s.GetState(); {
	case s.GetLeader():
		words = append(words, "leader")
	case silent && state != "Ready":
		words = append(words, strings.ToUpper(state))
	case state == "Joining":
		words = append(words, "joining")
	}
	if v := s.GetVersion(); v != "" {
		words = append(words, v)
	}
	return strings.Join(words, " ")
}

// inStepText counts nodes while the store answers nobody: the server that is asked
// knows of those whose streams it has, and of no other.
func inStepText(r *report) string {
	switch seen := r.GetNodesInStep(); seen {
	case r.GetNodes():
		return fmt.Sprintf("%d of %d nodes in step", seen, r.GetNodes())
	case 0:
		return fmt.Sprintf("- of %d nodes in step", r.GetNodes())
	default:
		return fmt.Sprintf("%d of %d nodes in step, of the others it is not known", seen, r.GetNodes())
	}
}

func title(b *strings.Builder, name, format string, args ...any) {
	fmt.Fprintf(b, "%-9s%s\n", name, fmt.Sprintf(format, args...))
}

// lookingText names the nodes of which it is not known yet what is wrong there.
func lookingText(nodes []string) string {
	const most = 5
	names := strings.Join(nodes[:min(len(nodes), most)], ", ")
	if more := len(nodes) - most; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return names + ": the agent has just begun, and has not looked at its host yet; what was found before stands"
}

// problemCount is how many there are; that there are none is not known while nodes look.
func (c *cli) problemCount(n int, looking bool) string {
	switch {
	case n == 0 && looking:
		return "none found yet"
	case n == 0:
		return c.paint(green, "no problems")
	}
	return c.paint(red, strings.ToUpper(count(n, "problem")))
}

func etcdText(e *weftv1.EtcdStatus) string {
	if e == nil {
		return "-"
	}
	size := bytesText(e.GetSizeBytes())
	if e.GetQuotaBytes() > 0 {
		size += " of " + bytesText(e.GetQuotaBytes())
	}
	text := count(int(e.GetMembers()), "member") + ", " + size
	if e.GetMode() == "external" {
		return "external, " + text
	}
	return text
}

// bytesText is a size in binary units, rounded down: 38 MiB.
func bytesText(n int64) string {
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if n < 1<<10 {
			return fmt.Sprintf("%d %s", n, unit)
		}
		n >>= 10
	}
	return fmt.Sprintf("%d GiB", n)
}

func day(unix int64) string {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0).UTC().Format(time.DateOnly)
}

func pathText(paths []*weftv1.PathCount) string {
	var total uint32
	var words []string
	for _, p := range paths {
		total += p.GetPairs()
		if p.GetPairs() > 0 {
			words = append(words, fmt.Sprintf("%d %s", p.GetPairs(), p.GetTransport()))
		}
	}
	if total == 0 {
		return "none: there are no two nodes"
	}
	return fmt.Sprintf("%s: %s", count(int(total), "pair"), strings.Join(words, ", "))
}

// problemTable is what is wrong and what to do. Its titles are those of the
// fabric, with the node, or of one node.
func (c *cli) problemTable(problems []*weftv1.Problem, node bool) string {
	t := table.Table{Titles: []string{"SINCE", "PROBLEM", "DO"}}
	if node {
		t.Titles = append([]string{"NODE"}, t.Titles...)
	}
	groups := alike(problems)
	wide := c.shareOf(groups, node)
	for _, same := range groups {
		p := same[0]
		cause := p.GetCause()
		if s := p.GetSubject(); s != "" && !strings.Contains(cause, s) {
			cause = strings.Replace(s, "//", "/", 1) + ": " + cause // a key without a namespace
		}
		row := []string{c.moment(p.GetSinceUnix()), table.Wrap(cause, wide), table.Wrap(p.GetRemedy(), wide)}
		if node {
			row = append([]string{whoSay(same)}, row...)
		}
		t.Add(row...)
	}
	return t.Text(false)
}

// shareOf is what a problem, and what to do, may have of the terminal's width
// beside the columns before them.
func (c *cli) shareOf(groups [][]*weftv1.Problem, node bool) int {
	if c.width == 0 {
		return 0
	}
	const since, gaps = 8, 6
	left := c.width - since - gaps
	if node {
		longest := 0
		for _, same := range groups {
			longest = max(longest, len(whoSay(same)))
		}
		left -= longest
	}
	return max(min(left/2, 56), 20)
}

// alike puts together what several nodes say in the same words, in the order in
// which each was first said.
func alike(problems []*weftv1.Problem) [][]*weftv1.Problem {
	type words struct{ subject, cause, remedy string }
	at := map[words]int{}
	var out [][]*weftv1.Problem
	for _, p := range problems {
		w := words{p.GetSubject(), p.GetCause(), p.GetRemedy()}
		i, ok := at[w]
		if !ok {
			i, at[w] = len(out), len(out)
			out = append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

// whoSay names those that have one problem, or the first of many; the rest are
// in -o json.
func whoSay(same []*weftv1.Problem) string {
	const shown = 2
	var names []string
	for _, p := range same {
		if !slices.Contains(names, p.GetNode()) {
			names = append(names, p.GetNode())
		}
	}
	if more := len(names) - shown; more > 1 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), more)
	}
	return strings.Join(names, ", ")
}

// moment is an age, or of today the time of day, which finds the line in a log.
func (c *cli) moment(unix int64) string {
	at, now := time.Unix(unix, 0).In(c.now().Location()), c.now()
	if unix != 0 && now.Sub(at) >= 10*time.Minute && now.Sub(at) < 24*time.Hour {
		return at.Format(time.TimeOnly)
	}
	return table.Since(unix, now)
}

// firstText names the certificate that ends first, and once it is near, what to do.
func (c *cli) firstText(e *weftv1.CertificateEnd) string {
	if e == nil {
		return ""
	}
	left := time.Unix(e.GetEndsUnix(), 0).Sub(c.now())
	text := "; first to end: " + e.GetHolder() + " in " + table.Coarse(left)
	if left < 30*24*time.Hour {
		text += " -> " + e.GetRemedy()
	}
	return text
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// epochText is an epoch's number, or of a server without numbers the beginning of
// its id, which is random and long; -o json has all of it.
func epochText(ordinal uint64, epoch string) string {
	if ordinal > 0 {
		return fmt.Sprint(ordinal)
	}
	const shown = 8
	if len(epoch) > shown {
		return epoch[:shown]
	}
	return orDash(epoch)
}

// backupText is how backups stand, after what is said of etcd.
func (c *cli) backupText(b *weftv1.BackupStatus) string {
	if b == nil {
		return ""
	}
	keeps := "not on schedule"
	if b.GetIntervalSeconds() > 0 {
		keeps = fmt.Sprintf("keeps %d", b.GetKeep())
	}
	if b.GetLastUnix() == 0 {
		return fmt.Sprintf(", no backup yet (%s)", keeps)
	}
	at, now := time.Unix(b.GetLastUnix(), 0).In(c.now().Location()), c.now()
	clock := at.Format("15:04")
	if now.Sub(at) >= 24*time.Hour {
		clock = at.Format("2006-01-02 15:04")
	}
	return fmt.Sprintf(", last backup %s ago (%s, %s)", table.Coarse(now.Sub(at)), clock, keeps)
}
