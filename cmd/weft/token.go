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

func (c *cli) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "token",
		Short:   "Make, list and revoke the tokens with which nodes join",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE:    subcommandNeeded,
	}
	cmd.AddCommand(c.tokenCreateCommand(), c.tokenListCommand(), c.tokenRevokeCommand())
	return cmd
}

func (c *cli) tokens() (weftv1.TokensClient, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return weftv1.NewTokensClient(conn), nil
}

type tokenRequest struct {
	output
	ttl         time.Duration
	uses        uint32
	nodes       []string
	labels      map[string]string
	description string
	replace     bool
	ephemeral   bool
}

func (c *cli) tokenCreateCommand() *cobra.Command {
	var r tokenRequest
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a token and print it; it is shown this once",
		Example: "  weft token create --ttl 1h --uses 3\n" +
			"  weft token create --node n3 --replace    # n3 was reinstalled",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.createToken(cmd.Context(), &r) },
	}
	r.flags(cmd)
	f := cmd.Flags()
	f.DurationVar(&r.ttl, "ttl", 24*time.Hour, "how long it can be used; 0 for ever")
	f.Uint32Var(&r.uses, "uses", 0, "how often it can be used; 0 without limit")
	f.StringSliceVar(&r.nodes, "node", nil, "only nodes of these names may use it")
	f.StringToStringVar(&r.labels, "label", nil, "labels that a node gets when it joins with it, key=value")
	f.StringVar(&r.description, "description", "", "what it is for")
	f.BoolVar(&r.replace, "replace", false, "lets a node take over its recorded name with a new key; needs --node")
	f.BoolVar(&r.ephemeral, "ephemeral", false, "nodes that join with it are deleted 1 h after they went, or when they say goodbye")
	return cmd
}

func (c *cli) createToken(ctx context.Context, r *tokenRequest) error {
	ttl := int64(r.ttl / time.Second)
	switch {
	case r.ttl < 0 || r.ttl > 0 && ttl == 0:
		return fmt.Errorf("--ttl %v: give a second or more, or 0 for ever", r.ttl)
	case r.ttl == 0:
		ttl = -1 // on the wire 0 is the server's default
	case r.replace && len(r.nodes) == 0:
		return fmt.Errorf("--replace could take over any node's name: give --node NAME")
	}
	client, err := c.tokens()
	if err != nil {
		return err
	}
	answer, err := client.Create(ctx, &weftv1.TokensCreateRequest{
		TtlSeconds: ttl, Uses: r.uses, Nodes: r.nodes, Labels: r.labels, Description: r.description, Replace: r.replace, Ephemeral: r.ephemeral,
	})
	if err != nil {
		return &refused{err: err}
	}
	if r.isData() {
		return c.printMessage(&r.output, answer)
	}
	c.say("%s", limits(answer.GetStatus()))
	return c.printf("%s\n", answer.GetToken())
}

// limits says what a token may do.
func limits(s *weftv1.TokenStatus) string {
	words := []string{"token " + s.GetId()}
	if s.GetExpiresUnix() == 0 {
		words = append(words, "does not expire")
	} else {
		words = append(words, "until "+time.Unix(s.GetExpiresUnix(), 0).UTC().Format(time.RFC3339))
	}
	if s.GetUses() > 0 {
		words = append(words, fmt.Sprintf("for %d uses", s.GetUses()))
	}
	if len(s.GetNodes()) > 0 {
		words = append(words, "for "+strings.Join(s.GetNodes(), ", "))
	}
	if s.GetReplace() {
		words = append(words, "may take over a recorded name")
	}
	if s.GetEphemeral() {
		words = append(words, "for ephemeral nodes")
	}
	return strings.Join(words, ", ") + "; it is shown this once"
}

func (c *cli) tokenListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List tokens, without their secrets",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.tokens()
			if err != nil {
				return err
			}
			answer, err := client.List(cmd.Context(), &weftv1.TokensListRequest{})
			if err != nil {
				return err
			}
			return c.printTokens(&o, answer)
		},
	}
	o.flags(cmd)
	return cmd
}

func (c *cli) printTokens(o *output, answer *weftv1.TokensListResponse) error {
	if o.isData() {
		return c.printMessage(o, answer)
	}
	if o.format == asName {
		for _, s := range answer.GetTokens() {
			if err := c.printf("token/%s\n", s.GetId()); err != nil {
				return err
			}
		}
		return nil
	}
	t := table.Table{Titles: []string{"ID", "AGE", "ENDS", "USED", "NODES", "LABELS", "MAY", "DESCRIPTION"}}
	for _, s := range answer.GetTokens() {
		used := fmt.Sprint(s.GetUsed())
		if s.GetUses() > 0 {
			used += fmt.Sprintf(" of %d", s.GetUses())
		}
		t.Add(s.GetId(), table.Since(s.GetCreatedUnix(), c.now()), c.ends(s.GetExpiresUnix()), used, orAny(s.GetNodes()),
			labelText(s.GetLabels()), strings.Join(special(s), ","), s.GetDescription())
	}
	return c.printTable(o, &t)
}

// special is what few tokens may.
func special(s *weftv1.TokenStatus) []string {
	var words []string
	if s.GetReplace() {
		words = append(words, "replace")
	}
	if s.GetEphemeral() {
		words = append(words, "ephemeral")
	}
	return words
}

func (c *cli) ends(unix int64) string {
	left := time.Unix(unix, 0).Sub(c.now())
	switch {
	case unix == 0:
		return "never"
	case left <= 0:
		return "ended"
	}
	return "in " + table.Age(left)
}

func orAny(names []string) string {
	if len(names) == 0 {
		return "any"
	}
	return strings.Join(names, ",")
}

func (c *cli) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID...",
		Aliases: []string{"delete", "rm"},
		Short:   "End tokens; nodes that joined with them stay",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.tokens()
			if err != nil {
				return err
			}
			for _, id := range args {
				id = strings.TrimPrefix(id, "token/")
				if _, err := client.Revoke(cmd.Context(), &weftv1.TokensRevokeRequest{Id: id}); err != nil {
					return fmt.Errorf("token %s: %w", id, err)
				}
				if err := c.printf("token/%s revoked\n", id); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
