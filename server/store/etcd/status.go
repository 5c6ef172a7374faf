package etcd

import (
	"context"
)

// Status is what an operator wants to know of the store.
type Status struct {
	Mode    string // embedded or external
	Version string // of the server that answered
	Members int
	Size    int64    // of the database, bytes
	Quota   int64    // bytes; 0 if the server is too old to tell
	Alarms  []string // what etcd itself complains of
}

// Status asks one member about itself and its cluster.
func (s *Store) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	status := Status{Mode: "embedded"}
	endpoint := ""
	if s.server == nil {
		status.Mode = "external"
		endpoint = s.config.Endpoints[0]
	}
	r, err := s.client.Status(ctx, endpoint)
	if err != nil {
		return Status{}, s.explain(ctx, "status", err)
	}
	members, err := s.client.MemberList(ctx)
	if err != nil {
		return Status{}, s.explain(ctx, "list members", err)
	}
	status.Version, status.Members, status.Alarms = r.Version, len(members.Members), r.Errors
	status.Size, status.Quota = r.DbSize, r.DbSizeQuota
	return status, nil
}
