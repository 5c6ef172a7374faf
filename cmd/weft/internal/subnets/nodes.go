package subnets

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"sigs.k8s.io/yaml"
)

// kubeNode is what is read of a Node of Kubernetes.
type kubeNode struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR  string   `json:"podCIDR"`
		PodCIDRs []string `json:"podCIDRs"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
	} `json:"status"`
	Items []kubeNode `json:"items"`
}

// Nodes reads what kubectl get nodes prints with -o json or -o yaml. A node without
// podCIDRs is there without prefixes.
func Nodes(file string, b []byte) ([]Subnet, error) {
	if len(b) > maxBytes {
		return nil, fmt.Errorf("%s: %d bytes; at most %d are read", file, len(b), maxBytes)
	}
	var list kubeNode
	if err := yaml.Unmarshal(b, &list); err != nil { // JSON is YAML
		return nil, noNodes(file, err)
	}
	items := list.Items
	if list.Kind == "Node" {
		items = []kubeNode{list}
	}
	if len(items) == 0 || len(items) > maxSubnets {
		return nil, fmt.Errorf("%s: %d nodes; make it with: kubectl get nodes -o json", file, len(items))
	}
	var out []Subnet
	for i, n := range items {
		if n.Metadata.Name == "" || n.Kind != "" && n.Kind != "Node" {
			return nil, fmt.Errorf("%s: items[%d] is no Node with a name", file, i)
		}
		s := Subnet{Node: n.Metadata.Name, From: "Node/" + n.Metadata.Name}
		cidrs := n.Spec.PodCIDRs
		if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
			cidrs = []string{n.Spec.PodCIDR}
		}
		for j, text := range cidrs {
			p, err := masked(text)
			if err != nil {
				return nil, fmt.Errorf("%s: Node/%s spec.podCIDRs[%d]: %w", file, n.Metadata.Name, j, err)
			}
			s.Prefixes = append(s.Prefixes, p)
		}
		s.Hosts = n.hosts()
		out = append(out, s)
	}
	return out, nil
}

// noNodes says what is wrong with a file in its own words.
func noNodes(file string, err error) error {
	const do = "make it with: kubectl get nodes -o json"
	if wrong := (*json.UnmarshalTypeError)(nil); !errors.As(err, &wrong) {
		return fmt.Errorf("%s: %w; %s", file, err, do)
	} else if wrong.Field != "" {
		return fmt.Errorf("%s: %s is of kind %s, which no Node has there; %s", file, wrong.Field, wrong.Value, do)
	}
	return fmt.Errorf("%s: it is no list of Nodes; %s", file, do)
}

// hosts are the node's addresses, also the one that Flannel announces.
func (n kubeNode) hosts() []netip.Addr {
	texts := []string{n.Metadata.Annotations["flannel.alpha.coreos.com/public-ip"], n.Metadata.Annotations["flannel.alpha.coreos.com/public-ipv6"]}
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" || a.Type == "ExternalIP" {
			texts = append(texts, a.Address)
		}
	}
	var out []netip.Addr
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}
