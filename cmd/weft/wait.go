package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	"github.com/weft-net/weft/cmd/weft/internal/jsonpath"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (c *cli) waitCommand() *cobra.Command {
	var s selection
	var condition string
	var limit time.Duration
	cmd := &cobra.Command{
		Use:     "wait KIND NAME... --for=CONDITION",
		Short:   "Wait until objects are as wanted, or gone",
		Example: "  weft wait node n1 --for=condition=Ready\n  weft wait node/n7 --for=delete\n  weft wait node n1 --for=jsonpath='{.status.endpoints}'=3",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			until, err := parseCondition(condition)
			if err != nil {
				return err
			}
			targets, err := c.targets(cmd.Context(), args)
			if err != nil {
				return err
			}
			if len(targets) != 1 || len(targets[0].names) == 0 && s.selector == "" {
				return errors.New("which? name objects of one kind, or -l")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return c.wait(ctx, s, targets[0], until, limit)
		},
		ValidArgsFunction: c.completeObjects,
	}
	s.flags(cmd)
	cmd.Flags().StringVar(&condition, "for", "", "delete, create, condition=STATE (of .status.state), or jsonpath='{PATH}'=VALUE")
	cmd.Flags().DurationVar(&limit, "timeout", 30*time.Second, "how long to wait in all")
	return cmd
}

// condition is what is waited for of each object.
type condition struct {
	text    string
	deleted bool
	path    jsonpath.Template // nil: that it is there
	value   string
}

func parseCondition(s string) (condition, error) {
	what, rest, _ := strings.Cut(s, "=")
	switch {
	case s == "delete":
		return condition{text: "gone", deleted: true}, nil
	case s == "create":
		return condition{text: "there"}, nil
	case what == "condition" && rest != "":
		path, err := jsonpath.Parse("{.status.state}")
		return condition{text: rest, path: path, value: rest}, err
	case what == "jsonpath":
		template, value, ok := cutLast(rest)
		if !ok {
			break
		}
		path, err := jsonpath.Parse(template)
		return condition{text: template + "=" + value, path: path, value: value}, err
	}
	return condition{}, fmt.Errorf("--for=%s: write --for=delete, create, condition=Ready, or jsonpath='{.status.state}'=Ready", s)
}

// cutLast parts {PATH}=VALUE after the closing brace.
func cutLast(s string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, "}="); i >= 0 {
		return s[:i+1], s[i+2:], true
	}
	return strings.Cut(s, "=")
}

func (w condition) holds(r *weftv1.Resource) (bool, error) {
	if w.path == nil {
		return r != nil, nil
	}
	tree, err := document.Tree(document.Of(r))
	return err == nil && w.path.Text(tree) == w.value, err
}

// missing is the first of the names given of which there is no object, as kubectl has
// it: only what is there can come to be so. Empty: none, or that is waited for.
func (w condition) missing(t target, seen map[string]bool) string {
	if w.path == nil {
		return ""
	}
	for _, name := range t.names {
		if !seen[name] {
			return name
		}
	}
	return ""
}

// errEnough ends a watch that has seen what it waited for.
var errEnough = errors.New("enough seen")

// wait watches until the condition holds for every object named, or for every
// one with the labels.
func (c *cli) wait(ctx context.Context, s selection, t target, until condition, limit time.Duration) error {
	open := map[string]bool{} // by name: not as wanted yet
	seen := map[string]bool{}
	for _, name := range t.names {
		open[name] = !until.deleted
	}
	told, missing := false, ""
	s.progress = true // the condition may be a revision
	err := c.events(ctx, s, t, func(e *weftv1.WatchResponse) error {
		name := e.GetItem().GetMetadata().GetName()
		switch e.GetVerb() {
		case synced:
			told = true
			if missing = until.missing(t, seen); missing != "" {
				return errEnough
			}
		case deleted:
			open[name] = !until.deleted
		default:
			seen[name] = true
			ok, err := until.holds(e.GetItem())
			if err != nil {
				return err
			}
			open[name] = until.deleted || !ok
		}
		if told && (len(open) > 0 || until.deleted) && len(waiting(open)) == 0 {
			return errEnough
		}
		return nil
	})
	left := waiting(open)
	switch {
	case missing != "":
		return status.Errorf(codes.NotFound, "there is no %s/%s; to wait until there is: --for=create", strings.ToLower(t.kind.GetName()), missing)
	case errors.Is(err, errEnough):
		return c.sayMet(t, open)
	case errors.Is(ctx.Err(), context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded:
		return fmt.Errorf("after %v not %s: %s", limit, until.text, strings.Join(left, ", "))
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	}
	return fmt.Errorf("the server ended the watch; not %s: %s", until.text, strings.Join(left, ", "))
}

// sayMet names the objects as kubectl does.
func (c *cli) sayMet(t target, open map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(open)) {
		if err := c.printf("%s/%s condition met\n", strings.ToLower(t.kind.GetName()), name); err != nil {
			return err
		}
	}
	return nil
}

func waiting(open map[string]bool) []string {
	var out []string
	for name, not := range open {
		if not {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
