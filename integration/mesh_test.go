package integration

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// wire cut|mend HOST: its packets vanish, without a link that goes down.
// wire lose FROM TO PERCENT [nft match]: so many of the packets from one to the other.
// wire swallow FROM TO BYTES: those that are longer. wire pass FROM TO ends both.
func (s *scenario) wire(ctx context.Context, args []string) (string, error) {
	from, err := s.host(args[1])
	if err != nil {
		return "", err
	}
	switch {
	case args[0] == "cut":
		return "", from.Cut(ctx)
	case args[0] == "mend":
		return "", from.Mend(ctx)
	case len(args) < 3:
		return "", fmt.Errorf("wire %s: from where to where", args[0])
	}
	to, err := s.host(args[2])
	if err != nil {
		return "", err
	}
	if args[0] == "pass" {
		return "", s.Pass(ctx, from, to)
	}
	if len(args) < 4 {
		return "", fmt.Errorf("wire %s: how much", args[0])
	}
	n, err := strconv.Atoi(args[3])
	if err != nil {
		return "", err
	}
	switch args[0] {
	case "lose":
		return "", s.Lose(ctx, from, to, n, strings.Join(args[4:], " "))
	case "swallow":
		return "", s.Swallow(ctx, from, to, n)
	}
	return "", fmt.Errorf("wire: cut, mend, lose, swallow or pass, not %q", args[0])
}

// roam HOST: it gets other addresses on its network.
func (s *scenario) roam(ctx context.Context, args []string) (string, error) {
	h, err := s.host(args[0])
	if err != nil {
		return "", err
	}
	if err := h.Roam(ctx); err != nil {
		return "", err
	}
	return strings.Join(s.NodeIPs(h), " ") + "\n", nil
}

// snoop start NAME HOST FLOW: reads the host's wire. snoop stop NAME some|none says
// whether packets of the flow could be read there.
func (s *scenario) snoop(_ context.Context, args []string) (string, error) {
	if args[0] == "start" {
		h, err := s.host(args[2])
		if err != nil {
			return "", err
		}
		flow, ok := s.flows[args[3]]
		if !ok {
			return "", fmt.Errorf("no flow %q", args[3])
		}
		s.snoops[args[1]], err = s.StartSnoop(h, flow)
		return "", err
	}
	snoop, ok := s.snoops[args[1]]
	if args[0] != "stop" || !ok || len(args) != 3 {
		return "", fmt.Errorf("snoop: start NAME HOST FLOW, or stop NAME some|none of one that was started, not %q", args)
	}
	delete(s.snoops, args[1])
	n, first, err := snoop.Stop()
	switch {
	case err != nil:
		return "", err
	case (n > 0) != (args[2] == "some"):
		return "", fmt.Errorf("%d packets of the flow could be read, the first in\n%s", n, hex.Dump(first))
	}
	return fmt.Sprintf("%d packets of the flow could be read\n", n), nil
}
