package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// How often it is asked whether an epoch is served, and after which time it is told
// what is waited for.
const (
	epochEvery   = 200 * time.Millisecond
	epochTellsOf = 5 * time.Second
)

// awaitEpoch asks until the epoch is served that a restore begins.
func (c *cli) awaitEpoch(ctx context.Context, restore *weftv1.BackupsRestoreResponse) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	return c.awaitServed(ctx, restore, func(ctx context.Context) (*weftv1.StatusGetResponse, error) {
		return weftv1.NewStatusClient(conn).Get(ctx, &weftv1.StatusGetRequest{})
	})
}

func (c *cli) awaitServed(ctx context.Context, restore *weftv1.BackupsRestoreResponse, get func(context.Context) (*weftv1.StatusGetResponse, error)) error {
	ctx, cancel := context.WithTimeout(ctx, restoreWithin)
	defer cancel()
	began, told, why := time.Now(), "", ""
	for ctx.Err() == nil {
		once, done := context.WithTimeout(ctx, c.timeout)
		s, err := get(once)
		done()
		switch code := status.Code(err); {
		case err == nil && s.GetEpoch() == restore.GetEpochId():
			return nil
		case err == nil && s.GetEpochOrdinal() > restore.GetEpoch():
			c.say("epoch %d is served by now: another restore followed this one; look: weft events", s.GetEpochOrdinal())
			return nil
		case err == nil && s.GetEpochOrdinal() == restore.GetEpoch():
			why = fmt.Sprintf("another epoch %d is served", restore.GetEpoch())
		case err == nil:
			why = fmt.Sprintf("epoch %d is still served", s.GetEpochOrdinal())
		case code != codes.Unavailable && code != codes.DeadlineExceeded && code != codes.Canceled:
			return fmt.Errorf("the restore began, and what became of it is not known; look: weft status: %w", err)
		case ctx.Err() == nil:
			why = c.describeError(err)
		}
		if why != told && time.Since(began) >= epochTellsOf {
			told = why
			c.say("waiting for epoch %d, for %v at most: %s", restore.GetEpoch(), restoreWithin, why)
		}
		select {
		case <-ctx.Done():
		case <-time.After(epochEvery):
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("the restore began, and epoch %d is not served after %v: %s; it goes on by itself once that is mended; look: weft status, and the log of server %s",
		restore.GetEpoch(), restoreWithin, why, restore.GetServer())
}
