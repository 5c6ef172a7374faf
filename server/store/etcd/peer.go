package etcd

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/weft-net/weft/server/store"
	"go.etcd.io/etcd/server/v3/embed"
)

// among makes the settings of a lone member those of one among several.
func (p *Peer) among(config *embed.Config) error {
	listen, err := peerURL(p.Listen)
	if err != nil {
		return fmt.Errorf("--peer-listen: %w", err)
	}
	advertise, err := url.Parse(p.Advertise)
	if err != nil || advertise.Scheme != "https" {
		return fmt.Errorf("%q is no https://HOST:PORT for the other servers", p.Advertise)
	}
	config.Name = p.Name
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{listen}, []url.URL{*advertise}
	config.TickMs, config.ElectionMs = peerTickMillis, peerElectionMillis
	config.PeerTLSInfo.TrustedCAFile = p.CAFile
	config.PeerTLSInfo.CertFile, config.PeerTLSInfo.KeyFile = p.CertFile, p.KeyFile
	config.PeerTLSInfo.ClientCertAuth = true
	config.PeerTLSInfo.ServerName = p.ServerName
	config.PeerTLSInfo.AllowedHostnames = []string{p.ServerName}
	// AllowedHostnames is stricter, and servers may stand behind NAT.
	config.PeerTLSInfo.SkipClientSANVerify = true
	config.InitialCluster = p.Name + "=" + p.Advertise
	if len(p.Join) > 0 {
		config.InitialCluster = initial(p.Join)
		config.ClusterState = embed.ClusterStateFlagExisting
	}
	return nil
}

func initial(members []store.Member) string {
	var words []string
	for _, m := range members {
		for _, u := range m.PeerURLs {
			words = append(words, m.Name+"="+u)
		}
	}
	return strings.Join(words, ",")
}

// peerURL is how etcd wants an address to listen on.
func peerURL(address string) (url.URL, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return url.URL{}, fmt.Errorf("%q is no address with a port, such as 0.0.0.0:7445", address)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)}, nil
}

// Members lists the members of the store's own cluster, as this one or the one
// asked knows them. It needs no quorum.
func (s *Store) Members(ctx context.Context) ([]store.Member, error) {
	if s.server == nil {
		return s.membersElsewhere(ctx)
	}
	var out []store.Member
	e := s.server.etcd.Server
	for _, m := range e.Cluster().Members() {
		out = append(out, store.Member{
			ID: uint64(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.IsLearner, Leader: m.ID == e.Leader(), Self: m.ID == e.MemberID(),
		})
	}
	return out, nil
}

func (s *Store) membersElsewhere(ctx context.Context) ([]store.Member, error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r, err := s.client.MemberList(ctx)
	if err != nil {
		return nil, s.explain(ctx, "list members", err)
	}
	var out []store.Member
	for _, m := range r.Members {
		out = append(out, store.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.IsLearner})
	}
	return out, nil
}

// AddLearner makes room for a member that follows and has no vote.
func (s *Store) AddLearner(ctx context.Context, peerURL string) (id uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	r, err := s.client.MemberAddAsLearner(ctx, []string{peerURL})
	if err != nil {
		return 0, s.explain(ctx, "add member "+peerURL, err)
	}
	return r.Member.ID, nil
}

// Promote gives a learner its vote. It fails while the learner lags behind.
func (s *Store) Promote(ctx context.Context, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if _, err := s.client.MemberPromote(ctx, id); err != nil {
		return s.explain(ctx, fmt.Sprintf("promote member %016x", id), err)
	}
	return nil
}

// RemoveMember takes a member out. etcd refuses what would break the quorum.
func (s *Store) RemoveMember(ctx context.Context, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if _, err := s.client.MemberRemove(ctx, id); err != nil {
		return s.explain(ctx, fmt.Sprintf("remove member %016x", id), err)
	}
	return nil
}

// MovePeer says where the others reach this embedded member from now on.
func (s *Store) MovePeer(ctx context.Context, peerURL string) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	if _, err := s.client.MemberUpdate(ctx, uint64(s.server.etcd.Server.MemberID()), []string{peerURL}); err != nil {
		return s.explain(ctx, "tell where this member is", err)
	}
	return nil
}
