package etcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
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

// Status asks the members about themselves and their cluster; the first answer
// counts, so that one that is dead or hangs hides nothing.
func (s *Store) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	status := Status{Mode: "embedded"}
	endpoints := []string{""} // the client's own
	if s.server == nil {
		status.Mode = "external"
		endpoints = s.config.Endpoints
	}
	r, err := s.first(ctx, endpoints)
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

// first asks all endpoints at once and gives the first answer, or the last error.
func (s *Store) first(ctx context.Context, endpoints []string) (*clientv3.StatusResponse, error) {
	type reply struct {
		status *clientv3.StatusResponse
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply, len(endpoints))
	for _, e := range endpoints {
		go func() {
			status, err := s.client.Status(ctx, e)
			replies <- reply{status, err}
		}()
	}
	var last reply
	for range endpoints {
		if last = <-replies; last.err == nil {
			break
		}
	}
	return last.status, last.err
}
