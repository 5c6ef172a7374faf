package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// past says which part of a journal is meant.
type past struct {
	since  time.Duration
	object string
	user   string
	limit  uint32
}

func (p *past) flags(cmd *cobra.Command, since time.Duration) {
	f := cmd.Flags()
	f.DurationVar(&p.since, "since", since, "of so long ago until now, such as 30m or 24h; 0: all that is kept")
	f.StringVar(&p.user, "user", "", "by this user")
	f.Uint32Var(&p.limit, "limit", 1000, "the newest so many at most")
}

// from is since in Unix seconds.
func (p *past) from(now time.Time) (int64, error) {
	switch {
	case p.since < 0:
		return 0, fmt.Errorf("--since %v lies ahead; give how long ago, such as 1h", p.since)
	case p.since == 0:
		return 0, nil
	}
	return max(now.Add(-p.since).Unix(), 1), nil
}

func (c *cli) eventsCommand() *cobra.Command {
	var o output
	var p past
	var watch bool
	cmd := &cobra.Command{
		Use:     "events",
		Short:   "What happened to the fabric, of the last seven days at most",
		Example: "  weft events --since 30m\n  weft events -w --for node/n1",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return c.watchEvents(cmd.Context(), &o, &p)
			}
			return c.listEvents(cmd.Context(), &o, &p)
		},
	}
	o.flags(cmd)
	p.flags(cmd, time.Hour)
	cmd.Flags().StringVar(&p.object, "for", "", "of this object: node/n1, lease/n1, or node for all nodes")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on with what happens")
	return cmd
}

func (c *cli) eventsClient() (weftv1.EventsClient, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return weftv1.NewEventsClient(conn), nil
}

func (c *cli) listEvents(ctx context.Context, o *output, p *past) error {
	from, err := p.from(c.now())
	if err != nil {
		return err
	}
	client, err := c.eventsClient()
	if err != nil {
		return err
	}
	answer, err := client.List(ctx, &weftv1.EventsListRequest{SinceUnix: from, Object: p.object, User: p.user, Limit: p.limit})
	if err != nil {
		return err
	}
	if o.isData() {
		return c.printMessage(o, answer)
	}
	if len(answer.GetEvents()) == 0 {
		c.say("no events%s", p.span())
		return nil
	}
	return c.printTable(o, c.eventTable(answer.GetEvents()))
}

func (p *past) span() string {
	if p.since == 0 {
		return ""
	}
	return " in the last " + table.Age(p.since) + "; --since 0 lists all that are kept"
}

func (c *cli) eventTable(events []*weftv1.FabricEvent) *table.Table {
	t := &table.Table{Titles: []string{"LAST", "TYPE", "REASON", "OBJECT", "BY", "MESSAGE"}, Paint: c.paintCell}
	for _, e := range events {
		message := e.GetMessage()
		if e.GetCount() > 1 {
			message = fmt.Sprintf("%s (%d times in %s)", message, e.GetCount(), table.Age(time.Duration(e.GetLastUnixMilli()-e.GetFirstUnixMilli())*time.Millisecond))
		}
		by := e.GetActor()
		if by == "" {
			by = "server " + e.GetServer()
		}
		t.Add(c.stamp(e.GetLastUnixMilli()), e.GetType(), e.GetReason(), e.GetObject(), by, message)
	}
	return t
}

// stamp is a moment to the second, with the day unless it is today's.
func (c *cli) stamp(unixMilli int64) string {
	at, now := time.UnixMilli(unixMilli).In(c.now().Location()), c.now()
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return at.Format(time.TimeOnly)
	}
	return at.Format(time.DateTime)
}

// watchEvents goes on over a server that goes: it comes back, or another does.
func (c *cli) watchEvents(ctx context.Context, o *output, p *past) error {
	from, err := p.from(c.now())
	if err != nil {
		return err
	}
	client, err := c.eventsClient()
	if err != nil {
		return err
	}
	var after int64
	first := true
	return c.again(ctx, func() error {
		stream, err := client.Watch(ctx, &weftv1.EventsWatchRequest{SinceUnix: from, Object: p.object, AfterRevision: after})
		if err != nil {
			return err
		}
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return status.Error(codes.Unavailable, "the server ended the watch")
			}
			if status.Code(err) == codes.Aborted { // history is gone: begin with what is past, of the time of the break
				after, from = 0, c.now().Add(-time.Minute).Unix()
			}
			if err != nil {
				return err
			}
			if err := c.printEvents(o, m.GetEvents(), first); err != nil {
				return fatal{err}
			}
			first = first && len(m.GetEvents()) == 0
			after = m.GetRevision()
		}
	})
}

func (c *cli) printEvents(o *output, events []*weftv1.FabricEvent, titles bool) error {
	if len(events) == 0 {
		return nil
	}
	if !o.isData() {
		t := c.eventTable(events)
		return c.printf("%s", t.Text(o.noHeaders || !titles))
	}
	for _, e := range events {
		if err := c.printMessage(o, e); err != nil {
			return err
		}
	}
	return nil
}

// fatal is an error of our own, which no other try mends.
type fatal struct{ error }

// Unwrap returns the cause.
func (f fatal) Unwrap() error { return f.error }

// Pauses between tries to reach a server again.
const (
	againFirst = 200 * time.Millisecond
	againLast  = 5 * time.Second
)

// again calls what follows a stream whenever it ends because the server went,
// until the person ends it, and says each time that it tries.
func (c *cli) again(ctx context.Context, follow func() error) error {
	wait := againFirst
	for {
		began := c.now()
		err := follow()
		if c.now().Sub(began) > againLast {
			wait = againFirst
		}
		var own fatal
		switch code := status.Code(err); {
		case ctx.Err() != nil:
			return nil // Ctrl-C is how a watch ends
		case errors.As(err, &own):
			return own.error
		case code != codes.Unavailable && code != codes.Aborted && code != codes.ResourceExhausted:
			return err
		}
		c.say("%s; trying again", c.describeError(err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, againLast)
	}
}
