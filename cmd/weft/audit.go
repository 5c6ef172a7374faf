package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) auditCommand() *cobra.Command {
	var o output
	var p past
	cmd := &cobra.Command{
		Use:     "audit",
		Short:   "Who asked for which write, done or refused, of the last ninety days at most",
		Example: "  weft audit --since 24h --user ops\n  weft audit --since 0 --object node/n1",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.audit(cmd.Context(), &o, &p) },
	}
	o.flags(cmd)
	p.flags(cmd, 24*time.Hour)
	cmd.Flags().StringVar(&p.object, "object", "", "of this object: node/n1, clusterconfig/default, or node for all nodes")
	return cmd
}

func (c *cli) audit(ctx context.Context, o *output, p *past) error {
	from, err := p.from(c.now())
	if err != nil {
		return err
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	answer, err := weftv1.NewAuditClient(conn).List(ctx, &weftv1.AuditListRequest{SinceUnix: from, User: p.user, Object: p.object, Limit: p.limit})
	if err != nil {
		return err
	}
	if o.isData() {
		return c.printMessage(o, answer)
	}
	if len(answer.GetRecords()) == 0 {
		c.say("nobody asked for a write%s", p.span())
		return nil
	}
	t := &table.Table{Titles: []string{"WHEN", "WHO", "FROM", "VERB", "OBJECTS", "REVISION", "OUTCOME"}, Paint: c.paintCell}
	if o.format == asWide {
		t.Titles = append(t.Titles, "METHOD", "SERIAL")
	}
	for _, r := range answer.GetRecords() {
		row := []string{c.stamp(r.GetAtUnixMilli()), whoText(r), orDash(r.GetFrom()), r.GetVerb(), objectsText(r.GetObjects(), o.format == asWide), revisionText(r), outcomeText(r)}
		if o.format == asWide {
			row = append(row, r.GetMethod(), r.GetSerial())
		}
		t.Add(row...)
	}
	return c.printTable(o, t)
}

func whoText(r *weftv1.AuditRecord) string {
	if r.GetUser() == "" {
		return "(nobody known)"
	}
	return r.GetRole() + " " + r.GetUser()
}

func objectsText(objects []string, all bool) string {
	const shown = 3
	if more := len(objects) - shown; more > 0 && !all {
		return fmt.Sprintf("%s and %d more", strings.Join(objects[:shown], ","), more)
	}
	return orDash(strings.Join(objects, ","))
}

func revisionText(r *weftv1.AuditRecord) string {
	if r.GetRevisionAfter() == 0 {
		return fmt.Sprint(r.GetRevisionBefore())
	}
	return fmt.Sprintf("%d->%d", r.GetRevisionBefore(), r.GetRevisionAfter())
}

func outcomeText(r *weftv1.AuditRecord) string {
	out := r.GetOutcome()
	if r.GetMessage() != "" {
		out += ": " + oneLine(r.GetMessage())
	}
	if r.GetCount() > 1 {
		out += fmt.Sprintf(" (%d times)", r.GetCount())
	}
	return out
}

// oneLine is a sentence of several lines in one.
func oneLine(text string) string {
	var lines []string
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "; ")
}
