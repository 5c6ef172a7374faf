package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The wait for an epoch ends, and says for what it was.
func TestAwaitEpoch(t *testing.T) {
	serves := func(ordinal uint64, id string) func(context.Context) (*weftv1.StatusGetResponse, error) {
		return func(context.Context) (*weftv1.StatusGetResponse, error) {
			return &weftv1.StatusGetResponse{EpochOrdinal: ordinal, Epoch: id}, nil
		}
	}
	const ended = "the restore began, and epoch 5 is not served after 5m0s: "
	for _, c := range []struct {
		name      string
		get       func(context.Context) (*weftv1.StatusGetResponse, error)
		took      time.Duration
		said, err string
	}{
		{"it is served", serves(5, "e5"), 0, "", ""},
		{"another followed", serves(6, "e6"), 0, "epoch 6 is served by now: another restore followed this one; look: weft events\n", ""},
		{"another, under its ordinal", serves(5, "other"), restoreWithin, "waiting for epoch 5, for 5m0s at most: another epoch 5 is served\n", ended + "another epoch 5 is served; it goes on by itself"},
		{"the one before", serves(4, "e4"), restoreWithin, "waiting for epoch 5, for 5m0s at most: epoch 4 is still served\n", ended + "epoch 4 is still served; it goes on by itself"},
		{
			"nobody answers", func(ctx context.Context) (*weftv1.StatusGetResponse, error) {
				began := time.Now()
				<-ctx.Done()
				return nil, &late{status.FromContextError(ctx.Err()).Err(), time.Since(began)}
			}, restoreWithin, "waiting for epoch 5, for 5m0s at most: no answer from the server within 10s (--timeout)\n", ended + "no answer from the server within 10s (--timeout); it goes on",
		},
		{
			"it is refused", func(context.Context) (*weftv1.StatusGetResponse, error) {
				return nil, status.Error(codes.PermissionDenied, "not yours")
			}, 0, "", "what became of it is not known; look: weft status: ",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said strings.Builder
				cli := &cli{err: &said, timeout: 10 * time.Second, config: t.TempDir() + "/none", env: func(string) string { return "" }}
				began := time.Now()
				err := cli.awaitServed(t.Context(), &weftv1.BackupsRestoreResponse{Epoch: 5, EpochId: "e5", Server: "s1"}, c.get)
				if took := time.Since(began); took.Round(time.Second) != c.took {
					t.Errorf("it took %v", took)
				}
				if said.String() != c.said || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("said %q, error %v", said.String(), err)
				}
			})
		})
	}
}

func TestAwaitEpochIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cli := &cli{err: &strings.Builder{}, timeout: time.Second, config: t.TempDir() + "/none", env: func(string) string { return "" }}
	err := cli.awaitServed(ctx, &weftv1.BackupsRestoreResponse{Epoch: 5}, func(context.Context) (*weftv1.StatusGetResponse, error) {
		cancel()
		return nil, status.Error(codes.Canceled, "")
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
