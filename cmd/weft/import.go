package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/subnets"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/protobuf/types/known/structpb"
)

// takeover is what to take over, and from where.
type takeover struct {
	yes    bool
	etcd   subnets.Etcd
	prefix string
	env    string
	node   string
	names  map[string]string
	nodes  string
	skip   []string
}

func (c *cli) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Take over the subnets that nodes have from Flannel or K3s, as reservations",
		Long: "Take over the subnets that nodes have from Flannel or K3s, as reservations, before weft's agents join. A table\n" +
			"shows what would be; --yes writes it, all or nothing.",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE:    subcommandNeeded,
	}
	cmd.AddCommand(c.importFlannelCommand(), c.importK3sCommand())
	return cmd
}

func (t *takeover) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&t.yes, "yes", false, "write the reservations; without it nothing is written")
	f.StringSliceVar(&t.skip, "skip", nil, "leave these `nodes` out")
}

func (c *cli) importFlannelCommand() *cobra.Command {
	var t takeover
	cmd := &cobra.Command{
		Use:   "flannel --etcd-endpoints URL... | --subnet-env FILE --node NAME",
		Short: "From Flannel's etcd, or from one node's subnet.env",
		Example: "  weft import flannel --etcd-endpoints https://10.0.0.1:2379 --etcd-cafile ca.pem --nodes nodes.json\n" +
			"  weft import flannel --etcd-endpoints http://10.0.0.1:2379 --name 192.0.2.11=n1 --name 192.0.2.12=n2 --yes\n" +
			"  weft import flannel --subnet-env /run/flannel/subnet.env --node n1 --yes",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			found, err := t.flannel(cmd.Context())
			if err != nil {
				return err
			}
			return c.takeOver(cmd.Context(), &t, found)
		},
	}
	t.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&t.etcd.Endpoints, "etcd-endpoints", nil, "client `URLs` of Flannel's etcd")
	f.StringVar(&t.etcd.CAFile, "etcd-cafile", "", "`file` with the CA of that etcd")
	f.StringVar(&t.etcd.CertFile, "etcd-certfile", "", "`file` with a client certificate for it")
	f.StringVar(&t.etcd.KeyFile, "etcd-keyfile", "", "`file` with that certificate's key")
	f.StringVar(&t.prefix, "etcd-prefix", "/coreos.com/network", "Flannel's --etcd-prefix")
	f.StringToStringVar(&t.names, "name", nil, "ADDRESS=NODE: which node an address is; Flannel's etcd knows addresses only")
	f.StringVar(&t.nodes, "nodes", "", "`file` that kubectl get nodes -o json printed, for the names of addresses")
	f.StringVar(&t.env, "subnet-env", "", "a node's subnet.env")
	f.StringVar(&t.node, "node", "", "the `name` of that node")
	return cmd
}

func (c *cli) importK3sCommand() *cobra.Command {
	var t takeover
	cmd := &cobra.Command{
		Use:     "k3s --nodes FILE",
		Short:   "From the podCIDRs of Kubernetes' nodes",
		Example: "  kubectl get nodes -o json >nodes.json\n  weft import k3s --nodes nodes.json\n  weft import k3s --nodes nodes.json --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.nodes == "" {
				return errors.New("which nodes? write: kubectl get nodes -o json >nodes.json, then --nodes nodes.json")
			}
			found, err := readNodes(t.nodes)
			if err != nil {
				return err
			}
			return c.takeOver(cmd.Context(), &t, found)
		},
	}
	t.flags(cmd)
	cmd.Flags().StringVar(&t.nodes, "nodes", "", "`file` that kubectl get nodes -o json or -o yaml printed")
	return cmd
}

func readNodes(file string) ([]subnets.Subnet, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return subnets.Nodes(file, b)
}

// flannel reads what Flannel gave.
func (t *takeover) flannel(ctx context.Context) ([]subnets.Subnet, error) {
	if (len(t.etcd.Endpoints) > 0) == (t.env != "") {
		return nil, errors.New("from where? give --etcd-endpoints, or --subnet-env with --node")
	}
	if t.env != "" {
		if t.node == "" {
			return nil, errors.New("whose subnet.env is it? give --node NAME")
		}
		b, err := os.ReadFile(t.env)
		if err != nil {
			return nil, err
		}
		s, err := subnets.Env(t.node, t.env, b)
		return []subnets.Subnet{s}, err
	}
	names, err := t.named()
	if err != nil {
		return nil, err
	}
	kvs, err := t.etcd.Range(ctx, strings.TrimSuffix(t.prefix, "/")+"/subnets/")
	if err != nil {
		return nil, err
	}
	found, err := subnets.Flannel(t.prefix, kvs)
	return subnets.Name(found, names), err
}

// named are the names of addresses, by --nodes and --name.
func (t *takeover) named() (map[netip.Addr]string, error) {
	out := map[netip.Addr]string{}
	if t.nodes != "" {
		known, err := readNodes(t.nodes)
		if err != nil {
			return nil, err
		}
		out = subnets.Names(known)
	}
	for text, node := range t.names {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--name %s=%s: %q is not an address", text, node, text)
		}
		out[a.Unmap()] = node
	}
	return out, nil
}

// What becomes of one subnet.
const (
	importNew  = "new"
	importSame = "has it"
)

// takeOver shows what would be, and does it if that is wanted and all of it can be.
func (c *cli) takeOver(ctx context.Context, t *takeover, found []subnets.Subnet) error {
	found = slices.DeleteFunc(found, func(s subnets.Subnet) bool { return slices.Contains(t.skip, s.Node) })
	client, err := c.resources()
	if err != nil {
		return err
	}
	states, err := compareLeases(ctx, client, found)
	if err != nil {
		return err
	}
	items := reservations(found, states)
	if len(items) > 0 {
		if _, err := client.Apply(ctx, &weftv1.ApplyRequest{Items: items, DryRun: true}); err != nil {
			if !markRefused(found, states, err) {
				return &refused{err: err}
			}
		}
	}
	if err := c.showImport(found, states); err != nil {
		return err
	}
	wrong, fresh := 0, 0
	for _, s := range states {
		switch s {
		case importNew:
			fresh++
		case importSame:
		default:
			wrong++
		}
	}
	switch {
	case wrong > 0:
		return fmt.Errorf("%d of %d subnets cannot be taken over: mend what is said, or leave nodes out with --skip; nothing was changed", wrong, len(found))
	case fresh == 0:
		return c.printf("nothing to do: all are leased as they should be\n")
	case !t.yes:
		return c.printf("%d leases would be reserved; nothing was changed. To do it: --yes\n", fresh)
	}
	if err := reserveAll(ctx, client, items); err != nil {
		return err
	}
	return c.printf("%d leases reserved; start the agents with --node-name as above\n", fresh)
}

// compareLeases tells of each subnet what it is beside the leases there are.
func compareLeases(ctx context.Context, client weftv1.ResourcesClient, found []subnets.Subnet) ([]string, error) {
	answer, err := client.List(ctx, &weftv1.ListRequest{Kind: "Lease"})
	if err != nil {
		return nil, err
	}
	held := map[string][]string{}
	for _, r := range answer.GetItems() {
		held[r.GetMetadata().GetName()] = list(r.GetSpec().GetFields()["prefixes"])
	}
	states := subnets.Check(found)
	for i, s := range found {
		have, there := held[s.Node]
		switch {
		case states[i] != "":
			states[i] = "conflict: " + states[i]
		case !there:
			states[i] = importNew
		case slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool { return !slices.Contains(have, p.String()) }):
			states[i] = fmt.Sprintf("conflict: node %s has %s already", s.Node, strings.Join(have, ", "))
		default:
			states[i] = importSame
		}
	}
	return states, nil
}

// reservations makes Leases of what is new.
func reservations(found []subnets.Subnet, states []string) []*weftv1.Resource {
	var out []*weftv1.Resource
	for i, s := range found {
		if states[i] != importNew {
			continue
		}
		prefixes := &structpb.ListValue{}
		for _, p := range s.Prefixes {
			prefixes.Values = append(prefixes.Values, structpb.NewStringValue(p.String()))
		}
		out = append(out, &weftv1.Resource{
			ApiVersion: "weft/v1", Kind: "Lease", Metadata: &weftv1.Metadata{Name: s.Node},
			Spec: &structpb.Struct{Fields: map[string]*structpb.Value{
				"node": structpb.NewStringValue(s.Node), "prefixes": structpb.NewListValue(prefixes),
			}},
		})
	}
	return out
}
