package selector

import (
	"fmt"
	"path/filepath"
)

// comments are what stands above the document: what to do with it.
func (s Selection) comments() []string {
	command := "weft-server egress-config --front-end " + string(s.Front) + " >" + s.File
	lines := []string{"For a kube-apiserver: mkdir -p " + filepath.Dir(s.File), "  " + command, ""}
	if s.Front == TCP {
		lines = append(lines,
			"Its certificate, beside this file; once more before it ends, then restart the kube-apiserver:",
			"  weft user create kube-apiserver --role dialer --pem "+filepath.Dir(s.File),
			"  weft user renew kube-apiserver --pem "+filepath.Dir(s.File),
			"")
	}
	lines = append(lines, "kube-apiserver:")
	for _, a := range s.arguments() {
		lines = append(lines, "  --"+a)
	}
	lines = append(lines, "", "K3s, in /etc/rancher/k3s/config.yaml on servers:")
	lines = append(lines, s.rancher()...)
	lines = append(lines, "", "RKE2, in /etc/rancher/rke2/config.yaml on servers; its kube-apiserver is a pod:")
	lines = append(lines, s.rancher()...)
	return append(append(lines, s.mounts()...), "")
}

// arguments are those of kube-apiserver. With the second, requests for aggregated
// APIs go to the addresses of pods: that of a service means nothing where no
// kube-proxy runs.
func (s Selection) arguments() []string {
	return []string{"egress-selector-config-file=" + s.File, "enable-aggregator-routing=true"}
}

// rancher are the lines that K3s and RKE2 share. Their own tunnels are switched off:
// else they write a file of their own for the same argument.
func (s Selection) rancher() []string {
	lines := []string{"  egress-selector-mode: disabled", "  kube-apiserver-arg:"}
	for _, a := range s.arguments() {
		lines = append(lines, "  - "+a)
	}
	return lines
}

// mounts are what the pod must see. A socket is mounted by its folder, for a server
// that starts again makes it anew.
func (s Selection) mounts() []string {
	folder := filepath.Dir(s.File)
	lines := []string{"  kube-apiserver-extra-mount:", fmt.Sprintf("  - %s:%s:ro", folder, folder)}
	if s.Front == TCP {
		return lines
	}
	at := filepath.Dir(s.Socket)
	if at != s.Data {
		return append(lines, fmt.Sprintf("  - %s:%s:ro", at, at))
	}
	flag := "--egress-socket"
	if s.Front == Konnectivity {
		flag = "--konnectivity-socket"
	}
	own := filepath.Join(s.Data, "sockets")
	return append(lines,
		fmt.Sprintf("  - %s:%s:ro", own, own),
		"  and start weft-server with "+flag+" "+filepath.Join(own, filepath.Base(s.Socket))+", then",
		"  print this file again: "+s.Data+" holds weft's keys, and no pod may see it")
}
