package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weft-net/weft/cmd/weft/internal/subnets"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (c *cli) showImport(found []subnets.Subnet, states []string) error {
	t := &table.Table{Titles: []string{"NODE", "PREFIXES", "FROM", "STATUS"}}
	for i, s := range found {
		t.Add(orDash(s.Node), orDash(s.String()), s.From, states[i])
	}
	return c.printf("%s", t.Text(false))
}

// markRefused puts what a server has against leases beside them, and tells whether
// all of it found its place.
func markRefused(found []subnets.Subnet, states []string, err error) bool {
	violations := fieldViolations(status.Convert(err))
	for _, v := range violations {
		object, field, _ := strings.Cut(v.GetField(), " ")
		placed := false
		for i, s := range found {
			if object == "Lease/"+s.Node && states[i] != importSame {
				states[i], placed = strings.TrimSpace("conflict: "+field+" "+v.GetDescription()), true
			}
		}
		if !placed {
			return false
		}
	}
	return len(violations) > 0
}

// reserveAll writes all reservations or none. A server writes them in several
// transactions if they are many; when one of them fails, those before are taken
// back: nobody has joined with them.
func reserveAll(ctx context.Context, client weftv1.ResourcesClient, items []*weftv1.Resource) error {
	_, err := client.Apply(ctx, &weftv1.ApplyRequest{Items: items})
	if err == nil {
		return nil
	}
	if isRefusal(status.Code(err)) {
		return &refused{err: err}
	}
	there, listed := client.List(context.WithoutCancel(ctx), &weftv1.ListRequest{Kind: "Lease"})
	if listed != nil {
		return errors.Join(fmt.Errorf("which leases were written is not known; to repeat is safe: %w", err), listed)
	}
	ours := map[string]string{}
	for _, r := range items {
		ours[r.GetMetadata().GetName()] = strings.Join(list(r.GetSpec().GetFields()["prefixes"]), ",")
	}
	gone := &weftv1.DeleteRequest{}
	for _, r := range there.GetItems() {
		if name := r.GetMetadata().GetName(); ours[name] != "" && ours[name] == strings.Join(list(r.GetSpec().GetFields()["prefixes"]), ",") {
			gone.Items = append(gone.Items, &weftv1.GetRequest{Kind: "Lease", Name: name})
		}
	}
	if len(gone.GetItems()) == 0 {
		return &refused{err: err}
	}
	if _, undone := client.Delete(context.WithoutCancel(ctx), gone); undone != nil && status.Code(undone) != codes.NotFound {
		return fmt.Errorf("%d leases were written and could not be taken back (%v); to repeat is safe: %w", len(gone.GetItems()), undone, err)
	}
	return fmt.Errorf("%w; the %d leases that were written are taken back, nothing was changed", err, len(gone.GetItems()))
}
