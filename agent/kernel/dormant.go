package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/datapath"
)

// asleep tells whether the table's chains are taken off their hooks.
func (n *nft) asleep() (bool, error) {
	list, err := n.sock.dump(unix.NFT_MSG_GETTABLE, nil)
	if err != nil {
		return false, fmt.Errorf("kernel: list of tables: %w", err)
	}
	for _, b := range list {
		var name string
		var flags uint32
		err := each(b, func(typ uint16, v []byte) {
			switch typ {
			case unix.NFTA_TABLE_NAME:
				name = text(v)
			case unix.NFTA_TABLE_FLAGS:
				flags = u32(v)
			}
		})
		if err != nil {
			return false, err
		}
		if name == datapath.Table {
			return flags&unix.NFT_TABLE_F_DORMANT != 0, nil
		}
	}
	return false, nil
}

// wake puts the table's chains back on their hooks. It is a transaction of its
// own: the kernel does not take one that changes base chains too (Linux,
// net/netfilter/nf_tables_api.c, nft_table_pending_update).
func (n *nft) wake() error {
	body := inTable()
	body.u32(unix.NFTA_TABLE_FLAGS, 0)
	failed, err := n.sock.commit([]nfMessage{{typ: unix.NFT_MSG_NEWTABLE, body: body}})
	if errors.Is(failed[0], unix.ENOENT) {
		return nil
	}
	return errors.Join(err, failed[0])
}
