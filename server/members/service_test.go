package members

import (
	"context"
	"strings"
	"testing"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/identity"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
	"github.com/weft-net/weft/server/store/storetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// anybody hands the secrets over to whoever asks.
type anybody struct{}

func (anybody) HandOver(context.Context, string, identity.Caller) (identity.Handover, error) {
	return identity.Handover{ServerKey: []byte("key"), Authority: []byte("ca")}, nil
}

func (anybody) ServerRemoval(context.Context, string) (store.Txn, error) { return store.Txn{}, nil }

// TestJoinRefusals: what a server that wants to join is told, by its clock and its
// store; nothing is handed over and nothing is written.
func TestJoinRefusals(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, own, mode string
		ahead           time.Duration
		want            string
	}{
		{"in time", Clustered, "embedded", 0, ""},
		{"a minute behind", Clustered, "embedded", -time.Minute, ""},
		{"five hours ahead", Clustered, "embedded", 5 * time.Hour, "the clock of s2 is 5h0m0s ahead of that of server s1 (2026-03-01T12:00:00Z): set it, by NTP, then start again"},
		{"three hours behind", Clustered, "embedded", -3 * time.Hour, "the clock of s2 is 3h0m0s behind that of server s1"},
		{"a year behind, elsewhere", Elsewhere, "external", -8760 * time.Hour, "the clock of s2 is 8760h0m0s behind that of server s1"},
		{"its own etcd, of one elsewhere", Elsewhere, "embedded", 0, "give all servers of a fabric the same --etcd-endpoints, or none"},
		{"one elsewhere, of an embedded one", Clustered, "external", 0, "give all servers of a fabric the same --etcd-endpoints, or none"},
		{"one that stands alone", Alone, "embedded", 0, "server s1 stands alone: start it with --cluster-init once, then this one again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := storetest.New()
			config, err := kind.Encode(kind.ClusterConfig, kind.Metadata{Name: kind.DefaultName}, kind.ClusterConfigSpec{})
			if err == nil {
				_, err = s.Commit(t.Context(), store.Txn{Then: []store.Write{{Key: kind.Key(kind.ClusterConfig, "", kind.DefaultName), Value: config}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			before := s.String()
			service := &Service{Room: New(Config{Server: Server{Name: "s1"}, Store: s, Mode: c.own, Now: func() time.Time { return now }}), Secrets: anybody{}}
			r, err := service.Join(t.Context(), &weftv1.MembersJoinRequest{Name: "s2", Mode: c.mode, Address: "s2:7443", ClockUnix: now.Add(c.ahead).Unix()})
			switch {
			case c.want == "" && (err != nil || string(r.GetServerKey()) != "key"):
				t.Error(err)
			case c.want != "" && (status.Code(err) != codes.FailedPrecondition || !strings.Contains(status.Convert(err).Message(), c.want) || r != nil):
				t.Errorf("got %v, %v\nwant %s", r, err, c.want)
			}
			if s.String() != before {
				t.Error("the store was changed")
			}
		})
	}
}
