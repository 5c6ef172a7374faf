package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/weft-net/weft/proto/cniwire"
	"github.com/weft-net/weft/proto/note"
)

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add:    func(a *skel.CmdArgs) error { return ask(cniwire.Add, a) },
		Del:    func(a *skel.CmdArgs) error { return ask(cniwire.Del, a) },
		Check:  func(a *skel.CmdArgs) error { return ask(cniwire.Check, a) },
		Status: func(a *skel.CmdArgs) error { return ask(cniwire.Status, a) },
		GC:     func(a *skel.CmdArgs) error { return ask(cniwire.GC, a) },
	}, version.PluginSupports(cniwire.Versions()...),
		"weft-cni "+note.Version+": carries CNI commands to the weft agent's socket")
}

// ask has the agent do what the runtime wants, and prints the result.
func ask(verb cniwire.Verb, a *skel.CmdArgs) error {
	socket, err := socketOf(a.StdinData)
	if err != nil {
		return err
	}
	resp, err := call(socket, cniwire.Request{
		Verb:        verb,
		ContainerID: a.ContainerID,
		NetNS:       a.Netns,
		IfName:      a.IfName,
		Args:        a.Args,
		Path:        a.Path,
		Config:      a.StdinData,
	})
	if err != nil {
		return err
	}
	if e := resp.Error; e != nil {
		return types.NewError(uint(e.Code), e.Msg, e.Details)
	}
	if verb != cniwire.Add {
		return nil
	}
	if _, err = os.Stdout.Write(append(resp.Result, '\n')); err != nil {
		return types.NewError(types.ErrIOFailure, fmt.Sprintf("weft-cni: write the result: %v", err), "")
	}
	return nil
}

// socketOf reads the agent's socket from a plugin configuration.
func socketOf(config []byte) (string, error) {
	var c struct {
		Socket *string `json:"socket"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", types.NewError(types.ErrDecodingFailure, fmt.Sprintf("weft-cni: configuration: %v", err), "")
	}
	if c.Socket == nil {
		return cniwire.DefaultSocket, nil
	}
	if !filepath.IsAbs(*c.Socket) {
		return "", types.NewError(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("weft-cni: socket %q: give an absolute path, such as %s", *c.Socket, cniwire.DefaultSocket), "")
	}
	return *c.Socket, nil
}
