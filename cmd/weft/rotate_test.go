package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestAnAnswerThatPassesIsAskedAgain: that another leader is elected just now is not
// the last word, within --timeout.
func TestAnAnswerThatPassesIsAskedAgain(t *testing.T) {
	changed := &refused{err: status.Error(codes.Unavailable, "the store does not answer; try again, or another server: etcdserver: leader changed")}
	busy := status.Error(codes.Aborted, "try again in a moment")
	no := status.Error(codes.FailedPrecondition, "no")
	disk := errors.New("renewed, but the file could not be written")
	for _, c := range []struct {
		name    string
		answers []error // the last again and again
		want    string
	}{
		{"at once", []error{nil}, "1 times in 0s: <nil>"},
		{"another leader", []error{changed, busy, changed, nil}, "4 times in 600ms: <nil>"},
		{"for too long", []error{changed}, "26 times in 5s: " + changed.Error()},
		{"a refusal", []error{no}, "1 times in 0s: " + no.Error()},
		{"a disk", []error{changed, disk}, "2 times in 200ms: " + disk.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tool, began, asked := &cli{timeout: 5*time.Second + time.Millisecond}, time.Now(), 0
				err := tool.answered(t.Context(), func(context.Context) error {
					asked++
					return c.answers[min(asked, len(c.answers))-1]
				})
				if got := fmt.Sprintf("%d times in %v: %v", asked, time.Since(began).Truncate(time.Second/10), err); got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
			})
		})
	}
}

// TestToInterruptEndsAsking: an operator who has seen enough is not held.
func TestToInterruptEndsAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tool, began := &cli{timeout: time.Hour, err: &bytes.Buffer{}}, time.Now()
		time.AfterFunc(time.Second, cancel)
		err := tool.answered(ctx, func(context.Context) error { return status.Error(codes.Unavailable, "nobody leads") })
		if err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
