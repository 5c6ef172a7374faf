package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/proto/intent"
	"github.com/weft-net/weft/server/kind"
)

// witnesses is what nodes said of their pairs, of those that are heard: what another
// said last may be long over.
func (s *Server) witnesses(v *view, said map[string]kind.PathsObservation) map[string]sends {
	out := map[string]sends{}
	for _, n := range v.members() {
		o, told := said[n.name]
		if state := s.health(n).state; !told || state == away || state == unknown {
			continue
		}
		old := n.reported > 0 && !slices.Contains(n.report.Capabilities, intent.CapabilityMesh)
		out[n.name] = sendsOf(intent.Peer{Name: n.name, NoMesh: old}, o)
	}
	return out
}

// gone is what to do about a node that is away. How it is reached is as it was, unless
// others get no answer from it by any way; and one that somebody has answers of is there.
func gone(node string, said map[string]sends) string {
	var hear, not []string
	for _, name := range slices.Sorted(maps.Keys(said)) {
		switch said[name].to(node) {
		case "":
		case down, noRung:
			not = append(not, name)
		default:
			hear = append(hear, name)
		}
	}
	look := "; on " + node + ": systemctl status weft-agent"
	leave := "; if the node is gone: weft delete node " + node
	switch {
	case len(not) == 0 && len(hear) == 0:
		return "its data path goes on as it was" + look + leave
	case len(not) == 0:
		return "its data path goes on as it was" + look
	case len(hear) == 0:
		return "nothing answers there, say " + few(not) + look + leave
	}
	return fmt.Sprintf("%s have answers from there, not so %s: weft mesh explain %s %s%s", few(hear), few(not), not[0], node, look)
}

// few names the first of many.
func few(names []string) string {
	if more := len(names) - maxMisfits; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxMisfits], ", "), more)
	}
	return strings.Join(names, ", ")
}
