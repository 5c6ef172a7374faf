package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (c *cli) rotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rotate",
		Short:   "Replace what the fabric's trust and its encryption stand on",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE:    subcommandNeeded,
	}
	cmd.AddCommand(c.rotateCACommand(), c.rotateKeysCommand())
	return cmd
}

type rotation struct {
	finish, force, status, noWait bool
}

func (c *cli) rotateCACommand() *cobra.Command {
	var r rotation
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Rotate the CA, two roots overlapping; nothing is cut",
		Long: "Rotate the CA, with two roots overlapping. A new root is made beside the old one, which signs it;\n" +
			"every agent learns it over its stream and keeps it on its disk. When all known nodes trust it, it\n" +
			"signs, servers show it, and agents renew at once. The old root counts until --finish.\n\n" +
			"Nothing is cut, nothing need be restarted. To interrupt this command interrupts nothing: servers go\n" +
			"on by themselves. Tokens that name the old root work as long as that root is valid.",
		Example: "  weft rotate ca\n  weft rotate ca --status\n  weft rotate ca --finish",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.rotateCA(cmd.Context(), r) },
	}
	f := cmd.Flags()
	f.BoolVar(&r.finish, "finish", false, "drop the old root: what it signed counts no more")
	f.BoolVar(&r.force, "force", false, "go on without those that are not ready, who are named")
	f.BoolVar(&r.status, "status", false, "only tell where a rotation stands")
	f.BoolVar(&r.noWait, "no-wait", false, "begin, and do not wait for the nodes")
	return cmd
}

func (c *cli) rotateCA(ctx context.Context, r rotation) error {
	for flag, given := range map[string]bool{"--finish": r.finish, "--force": r.force, "--no-wait": r.noWait} {
		if r.status && given {
			return fmt.Errorf("--status only tells where a rotation stands, and %s changes it: give one of them; nothing was changed", flag)
		}
	}
	conn, err := c.dial()
	if err != nil {
		return err
	}
	client := weftv1.NewAuthorityClient(conn)
	if r.status {
		answer, err := client.Status(ctx, &weftv1.AuthorityStatusRequest{})
		if err != nil {
			return err
		}
		return c.printf("%s", rotationText(answer.GetStatus()))
	}
	answer, err := client.RotateCA(ctx, &weftv1.RotateCARequest{Finish: r.finish, Force: r.force})
	if err != nil {
		return &refused{err: err}
	}
	if out := answer.GetLeftOut(); len(out) > 0 {
		c.say("left out: %s", strings.Join(out, ", "))
	}
	if r.finish {
		return c.printf("the old root counts no more\n")
	}
	if r.noWait {
		return c.printf("%s", rotationText(answer.GetStatus()))
	}
	return c.awaitRotation(ctx, client)
}

// awaitRotation follows a rotation until the new root signs, and takes it over into
// the caller's own credentials.
func (c *cli) awaitRotation(ctx context.Context, client weftv1.AuthorityClient) error {
	const look = 500 * time.Millisecond
	last := ""
	for {
		var s *weftv1.AuthorityStatus
		err := c.answered(ctx, func(ctx context.Context) error {
			answer, err := client.Status(ctx, &weftv1.AuthorityStatusRequest{})
			s = answer.GetStatus()
			return err
		})
		if err != nil {
			return err
		}
		if s.GetPhase() != "spreading" {
			break
		}
		if text := trustText(s); text != last {
			c.say("%s", text)
			last = text
		}
		t := time.NewTimer(look)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("interrupted; the servers go on by themselves: weft rotate ca --status")
		case <-t.C:
		}
	}
	if err := c.printf("the new root signs; agents renew by themselves\n"); err != nil {
		return err
	}
	own, err := c.credentials()
	if err != nil {
		return err
	}
	if err := c.answered(ctx, func(ctx context.Context) error { return c.renewOwn(ctx, own, 0, "") }); err != nil {
		c.say("your own credentials were not renewed: %s; run: weft user renew", c.describeError(err))
	}
	return c.printf("copies of credentials elsewhere: weft user renew; then: weft rotate ca --finish\n")
}

// answered asks what is safe to repeat until the answer stands: while servers elect
// another leader each of them says that the store does not answer. The last such
// answer counts after --timeout.
func (c *cli) answered(ctx context.Context, ask func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for {
		err := ask(limited)
		if code := status.Code(err); code != codes.Unavailable && code != codes.Aborted {
			return err
		}
		t := time.NewTimer(askPause)
		select {
		case <-limited.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

// trustText is how far the new root is spread: trusted by 11 of 12 nodes.
func trustText(s *weftv1.AuthorityStatus) string {
	text := fmt.Sprintf("the new root is trusted by %d of %d nodes", s.GetTrusting(), s.GetNodes())
	if len(s.GetWaiting()) > 0 {
		text += ", not yet by " + few(s.GetWaiting())
	}
	return text
}

// few names the first of many.
func few(names []string) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func rotationText(s *weftv1.AuthorityStatus) string {
	var b strings.Builder
	title(&b, "ca", "%.16s until %s", s.GetIssuing().GetHash(), day(s.GetIssuing().GetEndsUnix()))
	for _, o := range s.GetOld() {
		title(&b, "old", "%.16s until %s, counts until: weft rotate ca --finish", o.GetHash(), day(o.GetEndsUnix()))
	}
	switch s.GetPhase() {
	case "spreading":
		title(&b, "next", "%.16s; %s", s.GetNext().GetHash(), trustText(s))
	case "renewing":
		text := fmt.Sprintf("%d of %d nodes have renewed", s.GetRenewed(), s.GetNodes())
		if len(s.GetLagging()) > 0 {
			text += "; only certificates of the old root: " + few(s.GetLagging())
		}
		title(&b, "phase", "%s", text)
	default:
		title(&b, "phase", "no rotation; begin one: weft rotate ca")
	}
	if len(s.GetRestart()) > 0 {
		title(&b, "restart", "%s: the embedded etcd goes by the roots from before; one after the other: systemctl restart weft-server", few(s.GetRestart()))
	}
	return b.String()
}
