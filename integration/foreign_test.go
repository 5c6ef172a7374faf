package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/weft-net/weft/integration/lab"
)

// foreign add n1 web FILE | del n1/web: a pod of Flannel's CNI plugin, which takes
// the node's subnet from a file that weft-agent keeps. It delegates to bridge and
// host-local, all three of the CNI project.
func (s *scenario) foreign(ctx context.Context, args []string) (string, error) {
	switch args[0] {
	case "add":
		return s.foreignAdd(ctx, args[1], args[2], args[3])
	case "del":
		node, name, _ := strings.Cut(args[1], "/")
		h, err := s.host(node)
		if err != nil {
			return "", err
		}
		p, ok := s.pods[args[1]]
		if !ok {
			return "", fmt.Errorf("no pod %q", args[1])
		}
		return s.flannel(ctx, "DEL", h, p.Host, filepath.Join(h.Dir(), "foreign-"+name+".json"))
	}
	return "", fmt.Errorf("foreign: add or del, not %q", args[0])
}

func (s *scenario) foreignAdd(ctx context.Context, node, name, subnetFile string) (string, error) {
	h, err := s.host(node)
	if err != nil {
		return "", err
	}
	ns, err := s.Namespace(ctx, node+"-"+name)
	if err != nil {
		return "", err
	}
	conf, err := json.Marshal(map[string]any{
		"cniVersion": "0.3.1", "name": "cbr0", "type": "flannel",
		"subnetFile": subnetFile, "dataDir": filepath.Join(h.Dir(), "flannel"),
		"ipam":     map[string]any{"dataDir": filepath.Join(h.Dir(), "host-local")},
		"delegate": map[string]any{"isDefaultGateway": true, "hairpinMode": true},
	})
	if err != nil {
		return "", err
	}
	file := filepath.Join(h.Dir(), "foreign-"+name+".json")
	if err := os.WriteFile(file, conf, 0o644); err != nil {
		return "", err
	}
	out, err := s.flannel(ctx, "ADD", h, ns, file)
	if err != nil {
		return out, err
	}
	var result struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return out, fmt.Errorf("the plugin's result: %w", err)
	}
	p := &lab.Pod{Host: ns, Node: h}
	for _, ip := range result.IPs {
		p.Addrs = append(p.Addrs, ip.Address.Addr())
	}
	s.pods[node+"/"+name] = p
	return fmt.Sprint(p.Addrs), nil
}

// flannel runs the plugin in the node's namespace, as its runtime would.
func (s *scenario) flannel(ctx context.Context, verb string, node, pod *lab.Host, conf string) (string, error) {
	bin := filepath.Join(s.bin, "cni")
	return node.Run(ctx, "env", "CNI_COMMAND="+verb, "CNI_CONTAINERID="+pod.Name, "CNI_NETNS="+pod.Path(), "CNI_IFNAME=eth0", "CNI_PATH="+bin,
		"sh", "-c", filepath.Join(bin, "flannel")+" <"+conf+" 2>"+conf+".log || { cat "+conf+".log; exit 1; }")
}
