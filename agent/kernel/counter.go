package kernel

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// Counted is how many packets the counters of one chain of table inet weft have
// seen; 0 while there is no such chain.
func (k *Kernel) Counted(ctx context.Context, chain string) (packets uint64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	k.nft.mu.Lock()
	defer k.nft.mu.Unlock()
	body := inTable()
	body.text(unix.NFTA_RULE_CHAIN, chain)
	list, err := k.nft.sock.dump(unix.NFT_MSG_GETRULE, body)
	if err != nil {
		return 0, fmt.Errorf("kernel: counters of chain %s: %w", chain, err)
	}
	for _, b := range list {
		r, _, table, err := parseRule(b)
		if err != nil {
			return 0, err
		}
		if table == datapath.Table && r.chain == chain {
			packets += countedBy(b)
		}
	}
	return packets, nil
}

// countedBy is what the counters of one rule have seen.
func countedBy(rule []byte) (packets uint64) {
	expressions := attrsOf(rule)[unix.NFTA_RULE_EXPRESSIONS]
	_ = each(expressions, func(_ uint16, e []byte) {
		a := attrsOf(e)
		if text(a[unix.NFTA_EXPR_NAME]) == "counter" {
			packets += u64(attrsOf(a[unix.NFTA_EXPR_DATA])[unix.NFTA_COUNTER_PACKETS])
		}
	})
	return packets
}
