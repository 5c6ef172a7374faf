package members

import (
	"fmt"
	"strings"

	"github.com/weft-net/weft/server/store"
)

// removable says whether a server can go: pure. members is empty for an etcd
// elsewhere.
func removable(name string, all []Status, members []store.Member) error {
	up := map[string]bool{}
	there := false
	var names []string
	for _, s := range all {
		up[s.Name] = s.State == Ready || s.State == Learner
		there = there || s.Name == name
		names = append(names, s.Name)
	}
	if !there {
		return fmt.Errorf("there is no server %q; there are: %s", name, strings.Join(names, ", "))
	}
	if len(members) == 0 {
		if up[name] {
			return fmt.Errorf("server %s runs: stop it first, then remove it; its agents go to the others", name)
		}
		return nil
	}
	voters, answer, now, nowUp := 0, 0, 0, 0
	for _, m := range members {
		if m.Learner && m.Name == name {
			return nil
		}
		if m.Learner {
			continue
		}
		now++
		if up[m.Name] {
			nowUp++
		}
		if m.Name == name {
			continue
		}
		voters++
		if up[m.Name] {
			answer++
		}
	}
	switch {
	case voters == 0:
		return fmt.Errorf("server %s is the only one that is left: stop it instead", name)
	case answer < voters/2+1:
		return fmt.Errorf("without %s %s would be left, of which %d would answer, and %d are needed: first start the servers that are down (weft server list), or remove those first",
			name, count(voters, "server"), answer, voters/2+1)
	case nowUp < now/2+1:
		return fmt.Errorf("%d of %s answer, and taking one out needs %d: %s", nowUp, count(now, "server"), now/2+1, resetInstead(name))
	}
	return nil
}

// resetInstead is the way out where no quorum is left to agree on a removal.
func resetInstead(name string) string {
	return "start " + name + " again, and remove it while it runs; if it is gone for good, stop weft-server here and run it once with --cluster-reset; nothing was changed"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
