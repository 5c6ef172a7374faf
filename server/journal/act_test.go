package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/server/store/storetest"
)

func TestRecordReturnsWhenItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				if err := j.Record(t.Context(), Act{At: time.Now(), User: "ops", Method: "weft.v1.Resources/Apply", Objects: []string{fmt.Sprintf("Node/n%d", i)}, Outcome: "OK"}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		acts, err := j.Acts(t.Context(), Filter{User: "ops"})
		if err != nil || len(acts) != 50 {
			t.Fatalf("%d acts are stored (%v)", len(acts), err)
		}
		if writes := m.Revision() - 1; writes > 50 {
			t.Errorf("%d writes for 50 records", writes)
		}
		if acts, _ := j.Acts(t.Context(), Filter{Object: "node/n7"}); len(acts) != 1 {
			t.Errorf("%d acts on n7", len(acts))
		}
	})
}

func TestARecordThatIsNotStoredIsKeptAndBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		m.Down()
		for range maxWaiters {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			if err := j.Record(ctx, Act{At: time.Now(), User: "ops", Method: "M", Outcome: "OK"}); !errors.Is(err, ErrNotStored) {
				t.Fatalf("the store is down: %v", err)
			}
			cancel()
		}
		if err := j.Blocked(); err == nil || !strings.Contains(err.Error(), "256 writes are not in the audit") {
			t.Errorf("Blocked: %v", err)
		}
		m.Inject(storetest.Fault{})
		wait(time.Minute)
		if err := j.Blocked(); err != nil {
			t.Errorf("the store is back: %v", err)
		}
		if acts, _ := j.Acts(t.Context(), Filter{}); len(acts) != maxWaiters {
			t.Errorf("%d of %d records are there", len(acts), maxWaiters)
		}
	})
}

func TestDenialsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, m := running(t)
		for range 10_000 {
			j.Deny(Act{At: time.Now(), User: "eve", Role: "viewer", Method: "weft.v1.Resources/Apply", Outcome: "PermissionDenied", Message: "the rule: role operator"})
		}
		wait(3 * window)
		acts, err := j.Acts(t.Context(), Filter{User: "eve"})
		if err != nil || len(acts) != 2 || acts[0].Count+acts[1].Count != 9_999 || m.Revision() > 3 {
			t.Errorf("10000 denials: %+v (%v), %d writes", acts, err, m.Revision()-1)
		}
	})
}

// What another rule refuses is told by itself: a small refusal hides no great one.
func TestDenialsByRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := running(t)
		for _, target := range []string{"10.0.0.11:22", "10.0.0.11:23"} {
			j.DenyBy("default", Act{At: time.Now(), User: "eve", Method: "weft.v1.Egress/Dial", Message: target})
		}
		j.DenyBy("metadata", Act{At: time.Now(), User: "eve", Method: "weft.v1.Egress/Dial", Message: "169.254.169.254:80"})
		wait(3 * window)
		acts, err := j.Acts(t.Context(), Filter{User: "eve"})
		if err != nil || len(acts) != 3 || acts[0].Message != "10.0.0.11:22" || acts[1].Message != "169.254.169.254:80" || acts[2].Count != 1 {
			t.Errorf("%+v (%v)", acts, err)
		}
	})
}

func TestActsHoldNoSecret(t *testing.T) {
	token := "weft1." + strings.Repeat("0123456789abcdef", 4) + ".abcdefghij.abcdefghijklmnopqrstuvwxyz234567"
	a := Act{Message: strings.Repeat("x", maxMessage-100) + token, Objects: []string{"Token/" + token}}.bounded()
	for _, s := range append(a.Objects, a.Message) {
		if strings.Contains(s, "abcdefghijklmn") {
			t.Errorf("the secret is in %q", s)
		}
	}
}
