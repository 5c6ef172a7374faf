package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// lasting is after how long a change of the way in which nodes send is worth a word.
const lasting = time.Minute

// carriage is how nodes send now; the zero value while nothing was written.
func (s *Server) carriage(ctx context.Context) (c kind.CarriageSpec, err error) {
	e, err := s.Store.Get(ctx, kind.Key(kind.Carriage, "", kind.DefaultName))
	if errors.Is(err, store.ErrNotFound) {
		return c, nil
	}
	if err == nil {
		_, err = kind.Decode(e.Value, &c)
	}
	return c, err
}

// changeProblems tells of a change that does not come to its end because pairs of nodes
// that are heard go on by the way before. Nodes that are away are problems themselves.
func (s *Server) changeProblems(g glance) []*weftv1.Problem {
	c, now := g.carriage, s.Now()
	if !c.Switched || len(c.Receive) == 0 || now.Sub(time.Unix(c.AtUnix, 0)) < lasting {
		return nil
	}
	var pairs []string
	count := uint32(0)
	for _, n := range g.view.members() {
		o := g.paths[n.name]
		if o.Old == 0 || s.health(n).state == away {
			continue
		}
		count += o.Old
		for _, peer := range o.OldPeers {
			pairs = append(pairs, n.name+"->"+peer)
		}
	}
	if count == 0 {
		return nil
	}
	slices.Sort(pairs)
	const most = 3
	named := strings.Join(pairs[:min(len(pairs), most)], ", ")
	if more := int(count) - min(len(pairs), most); more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	remedy := "weft mesh explain tells what keeps a pair; or apply what was there before"
	if len(pairs) > 0 {
		from, to, _ := strings.Cut(pairs[0], "->")
		remedy = fmt.Sprintf("weft mesh explain %s %s tells what keeps them; or apply what was there before", from, to)
	}
	return []*weftv1.Problem{{
		Subject: "ClusterConfig/" + kind.DefaultName, SinceUnix: c.AtUnix, Remedy: remedy,
		Cause: fmt.Sprintf("nodes are to send by %v, and %s go on by %v, which is received as well until they do not", c.Send, named, c.Receive[0]),
	}}
}
