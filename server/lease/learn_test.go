package lease

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weft-net/weft/server/kind"
	"github.com/weft-net/weft/server/store"
)

// lost says that the store was lost and made again of a backup of an epoch at a
// revision, and that another epoch began. Epochs are called e1, e2, …; the allocator is a new one.
func (c *cluster) lost(ordinal, of uint64, revision int64) {
	c.t.Helper()
	var epochs []string
	for n := range ordinal {
		epochs = append(epochs, fmt.Sprintf(`"e%d":%d`, n+1, n+1))
	}
	c.put(store.Epochs, []byte("{"+strings.Join(epochs, ",")+"}"))
	c.put(store.Fence, fmt.Appendf(nil, "e%d", ordinal))
	c.put(store.Settling, []byte("1"))
	c.put(store.Lost, fmt.Appendf(nil, `{"ordinal":%d,"fileOrdinal":%d,"revision":%d,"losses":[%d]}`, ordinal, of, revision, ordinal))
	c.alloc = c.another()
}

// do runs words: "+n1 e1@60 P…" returns from there, "?n1 e1@60 P…" is claimed,
// "-n1" is released, "n1 [P…]" acquires, "settled" ends the learning. What is
// refused is answered.
func (c *cluster) do(words string) (refused string) {
	c.t.Helper()
	for line := range strings.SplitSeq(words, ";") {
		f := strings.Fields(line)
		var err error
		switch verb, name := f[0][0], f[0][1:]; {
		case f[0] == "settled":
			err = c.alloc.settled(c.t.Context())
		case verb == '+' || verb == '?':
			claim := kind.Claim{Node: name, Prefixes: prefixes(strings.Join(f[2:], " "))}
			if _, err := fmt.Sscanf(strings.Replace(f[1], "@", " ", 1), "%s %d", &claim.Epoch, &claim.Revision); err != nil {
				c.t.Fatal(err)
			}
			if verb == '+' {
				_, err = c.alloc.Return(c.t.Context(), claim)
			} else {
				_, _, err = c.alloc.Adopt(c.t.Context(), []kind.Claim{claim})
			}
		case verb == '-':
			err = c.alloc.Release(c.t.Context(), name)
		default:
			_, err = c.alloc.Acquire(c.t.Context(), f[0], prefixes(strings.Join(f[1:], " ")))
		}
		if e := (kind.ClaimError{}); errors.As(err, &e) {
			refused += strings.TrimSpace(fmt.Sprintf(" %s<%s", e.Node, e.Owner)) + " "
		} else if errors.Is(err, ErrSettling) {
			refused += f[0] + "~ "
		} else if err != nil {
			c.t.Fatal(err)
		}
	}
	return strings.TrimSpace(refused)
}

// The backup is of epoch 1 at revision 50 and knows n1: .0, n2: .1; A is .0, B .1,
// C .2, and so on. Epoch 3 begins.
func TestWhoseWordIsYounger(t *testing.T) {
	for _, row := range []struct{ name, words, want, refused string }{
		{"both come back", "+n1 e1@90 A; +n2 e1@90 B", "n1: A, n2: B", ""},
		{"a ghost gives way to who carries it", "+n3 e1@90 A", "n2: B, n3: A", ""},
		{"deleted and joined again with another", "+n1 e1@90 C; +n3 e1@90 A", "n1: C, n2: B, n3: A", ""},
		{"in the other order", "+n3 e1@90 A; +n1 e1@90 C", "n1: C, n2: B, n3: A", ""},
		{"a chain", "+n3 e1@90 A; +n1 e1@90 B; +n2 e1@90 C", "n1: B, n2: C, n3: A", ""},
		{"two that changed places", "+n1 e1@90 B; +n2 e1@90 A", "n1: B, n2: A", ""},
		{"one that is told keeps it", "+n1 e1@20 A; +n3 e1@90 A", "n1: A, n2: B", "n3<n1"},
		{"who knows less than the backup", "+n3 e1@20 A", "n1: A, n2: B", "n3<n1"},
		{"a later epoch is younger than any revision of the one before", "?n3 e1@90 A; +n4 e2@60 A", "n2: B, n4: A", ""},
		{"an epoch that nobody knows is younger than the backup", "+n3 lost@1 A", "n2: B, n3: A", ""},
		{"a claim is younger than the backup", "?n3 e1@60 A", "n2: B, n3: A", ""},
		{"a claim that is older is none", "?n3 e1@40 A", "n1: A, n2: B", ""},
		{"of two claims the younger counts", "?n3 e1@60 A; ?n4 e1@70 A; ?n5 e1@65 A", "n2: B, n4: A", ""},
		{"own word against a younger claim", "?n3 e1@90 A; +n1 e1@60 A", "n2: B, n3: A", "n1<n3"},
		{"a younger own word against a claim", "?n3 e1@60 C; +n4 e1@70 C; +n3 e1@70 D", "n1: A, n2: B, n3: D, n4: C", ""},
		{"a claim of one who came itself is none", "+n1 e1@60 A; ?n1 e1@90 C", "n1: A, n2: B", ""},
		{"hearsay takes what is free", "?n3 e3@99 C; ?n4 e3@99 A", "n1: A, n2: B, n3: C", ""},
		{"and gives it to any word", "?n3 e3@99 C; +n4 e1@20 C", "n1: A, n2: B, n4: C", ""},
		{"nobody is told of a memory meanwhile", "n1", "n1: A, n2: B", "n1~"},
		{"told once all are heard, and that stands", "settled; n1; +n3 e1@90 A", "n1: A, n2: B", "n3<n1"},
		{"a late one still has it from a memory", "settled; +n3 e1@90 A; n1", "n1: C, n2: B, n3: A", ""},
		{"what was given back after its node left", "+n1 e1@60 A C; ?n2 e1@90 B C", "n1: A C, n2: B", ""},
		{"and is another's", "?n2 e1@90 B C; +n1 e1@60 A C", "n1: A, n2: B C", ""},
		{"its only one is another's", "?n2 e1@90 A; +n1 e1@60 A", "n2: B A", "n1<n2"},
		{"grown since the backup", "+n1 e1@90 A C", "n1: A C, n2: B", ""},
		{"one that was leased something else does not lose it", "+n1 e1@20 C", "n1: A, n2: B", "n1<"},
		{"the heir", "+n1 e1@60 A; +n3 e1@90 A; -n1", "n2: B, n3: A", "n3<n1"},
		{"of two that were refused the younger is the heir", "+n1 e1@60 A; +n3 e1@70 A; +n4 e1@80 A; -n1", "n2: B, n4: A", "n3<n1 n4<n1"},
		{"in the other order", "+n1 e1@60 A; +n4 e1@80 A; +n3 e1@70 A; -n1", "n2: B, n4: A", "n4<n1 n3<n4"},
		{"an heir keeps what it has", "?n3 e1@70 C; +n1 e1@60 A; ?n3 e1@80 A; -n1", "n2: B, n3: C A", ""},
		{"each of two heirs gets what it carries", "+n1 e1@60 A C; +n3 e1@90 A; +n4 e1@70 C; -n1", "n2: B, n3: A, n4: C", "n3<n1 n4<n1"},
		{"claims of one node add up", "+n1 e1@60 A; +n2 e1@60 B; ?n3 e1@70 A; ?n3 e1@80 B; -n1; -n2", "n3: A B", ""},
		{"a claim that was refused is kept", "+n1 e1@60 A; ?n3 e1@90 A; -n1; settled; n4", "n2: B, n3: A, n4: C", ""},
		{"an heir gives way to a younger word", "+n1 e1@60 A; +n3 e1@70 A; -n1; +n4 e1@90 A", "n2: B, n4: A", "n3<n1"},
		{"nobody gets what a node that was refused carries", "+n1 e1@60 A; +n3 e1@90 A; +n4 e1@90 B; -n1; settled; n4", "n3: A, n4: B", "n3<n1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, "10.42.0.0/16")
			c.do("n1; n2")
			c.lost(3, 1, 50)
			letters := strings.NewReplacer("A", "10.42.0.0/24", "B", "10.42.1.0/24", "C", "10.42.2.0/24", "D", "10.42.3.0/24")
			expectText(t, c.do(letters.Replace(row.words)), row.refused)
			expectText(t, c.leases(), letters.Replace(row.want))
		})
	}
}

// The store was lost before epoch 3, and again before epoch 5: the backup of epoch 3
// repeats that n1 has A, and what peers say from epoch 4 may do so, too.
func TestWordsAcrossALoss(t *testing.T) {
	for _, row := range []struct{ name, words, want, refused string }{
		{"a node's own word refutes what was repeated of it", "?n1 e4@90 A; +n3 e2@90 A; +n1 e1@20 A; +n3 e2@90 A", "n2: B, n3: A", "n3<n1 n1<n3"},
		{"in the other order", "?n1 e4@90 A; +n1 e1@20 A; +n3 e2@90 A", "n1: A, n2: B", "n3<n1"},
		{"its own word confirms it", "?n1 e4@90 A; +n3 e2@90 A; +n1 e4@80 A", "n1: A, n2: B", "n3<n1"},
		{"nobody is told meanwhile", "?n1 e4@90 A; +n3 e2@90 A; settled; n1", "n1: A, n2: B", "n3<n1 n1<n3"},
		{"what was over in one store is over", "?n3 e4@90 A; +n1 e4@60 A C", "n1: C, n2: B, n3: A", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, "10.42.0.0/16")
			c.do("n1; n2")
			c.lost(5, 3, 50)
			c.put(store.Lost, []byte(`{"ordinal":5,"fileOrdinal":3,"revision":50,"losses":[3,5]}`))
			c.alloc = c.another()
			letters := strings.NewReplacer("A", "10.42.0.0/24", "B", "10.42.1.0/24", "C", "10.42.2.0/24")
			expectText(t, c.do(letters.Replace(row.words)), row.refused)
			expectText(t, c.leases(), letters.Replace(row.want))
		})
	}
}

// What a node carries that no range holds is nobody's once one does.
func TestRefusedOutsideTheRanges(t *testing.T) {
	c := newCluster(t, "10.42.0.0/23")
	c.do("n1; n2")
	c.lost(2, 1, 50)
	expectText(t, c.do("+n3 e1@90 10.42.2.0/24; settled"), "n3<")
	c.configure("10.42.0.0/22")
	expectText(t, c.do("n4; +n3 e1@90 10.42.2.0/24"), "")
	expectText(t, c.leases(), "n1: 10.42.0.0/24, n2: 10.42.1.0/24, n3: 10.42.2.0/24, n4: 10.42.3.0/24")
}

// A family that is new is for nodes that have come since the loss: others may carry one.
func TestCompleteAfterALoss(t *testing.T) {
	c := newCluster(t, "10.42.0.0/16")
	c.do("n1; n2")
	c.report("n1", "192.0.2.1/24")
	c.report("n2", "192.0.2.2/24")
	c.lost(2, 1, 50)
	c.do("+n1 e1@90 10.42.0.0/24; settled")
	c.configure("10.42.0.0/16 fd42:42::/48")
	if _, _, err := c.alloc.Complete(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	expectText(t, c.leases(), "n1: 10.42.0.0/24 fd42:42::/64, n2: 10.42.1.0/24")
	expectText(t, c.do("+n2 e1@90 10.42.1.0/24 fd42:42:0:7::/64"), "")
	expectText(t, c.leases(), "n1: 10.42.0.0/24 fd42:42::/64, n2: 10.42.1.0/24 fd42:42:0:7::/64")
}

// A node that is renamed takes along what it claims, and from when its lease is known.
func TestRenamedAfterALoss(t *testing.T) {
	c := newCluster(t, "10.42.0.0/16")
	c.do("n1; n2")
	c.lost(2, 1, 50)
	expectText(t, c.do("settled; n1; +n3 e1@90 10.42.0.0/24"), "n3<n1")
	for from, to := range map[string]string{"n2": "web2", "n3": "web3"} {
		txn, err := c.alloc.Renaming(t.Context(), from, to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.store.Commit(t.Context(), txn); err != nil {
			t.Fatal(err)
		}
	}
	expectText(t, c.do("+n4 e1@90 10.42.1.0/24; -n1"), "")
	expectText(t, c.leases(), "n4: 10.42.1.0/24, web3: 10.42.0.0/24")
}

// A lease that an operator deletes goes to who carries it, as that of a node.
func TestDeletedLeaseGoesToWhoCarriesIt(t *testing.T) {
	c := newCluster(t, "10.42.0.0/16")
	c.do("n1")
	c.lost(2, 1, 50)
	c.do("settled; n1; +n2 e1@90 10.42.0.0/24")
	txn, err := c.alloc.Guard(t.Context(), nil, []string{"n1"})
	if err != nil {
		t.Fatal(err)
	}
	txn.Then = append(txn.Then, store.Write{Key: kind.Key(kind.Lease, "", "n1")})
	if _, err := c.store.Commit(t.Context(), txn); err != nil {
		t.Fatal(err)
	}
	expectText(t, c.leases(), "n2: 10.42.0.0/24")
	expectText(t, c.do("+n2 e1@90 10.42.0.0/24"), "")
}
