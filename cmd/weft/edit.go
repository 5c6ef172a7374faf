package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) editCommand() *cobra.Command {
	var s selection
	return &cobra.Command{
		Use:   "edit KIND NAME | KIND/NAME",
		Short: "Change one object in an editor (VISUAL, EDITOR, else vi)",
		Long: "Change one object in an editor. It is replaced on condition that nobody changed it meanwhile.\n" +
			"When the server refuses, the file stays and is named.",
		GroupID: groupObjects,
		Args:    needKind,
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := c.targets(cmd.Context(), args)
			if err != nil {
				return err
			}
			if len(targets) != 1 || len(targets[0].names) != 1 {
				return errors.New("name one object: weft edit KIND NAME")
			}
			items, err := c.fetch(cmd.Context(), s, targets[0])
			if err != nil {
				return err
			}
			return c.edit(cmd.Context(), items[0])
		},
		ValidArgsFunction: c.completeObjects,
	}
}

func (c *cli) edit(ctx context.Context, r *weftv1.Resource) error {
	o := document.Of(r)
	o.Status = nil
	before, err := document.YAML(o)
	if err != nil {
		return err
	}
	path, err := temporary(o.Kind, before)
	if err != nil {
		return err
	}
	after, err := c.edited(ctx, path)
	if err != nil {
		return err
	}
	if bytes.Equal(before, after) {
		c.say("nothing was changed")
		return os.Remove(path)
	}
	kept := func(err error) error {
		c.say("what you wrote is in %s", path)
		return err
	}
	docs, err := document.Read(path, bytes.NewReader(after))
	if err != nil {
		return kept(err)
	}
	if len(docs) != 1 || docs[0].Name() != document.Name(r) {
		return kept(fmt.Errorf("the file must hold %s and nothing else; to make others: weft apply -f", document.Name(r)))
	}
	client, err := c.resources()
	if err != nil {
		return kept(err)
	}
	answer, err := client.Replace(ctx, &weftv1.ReplaceRequest{Items: resourcesOf(docs)})
	if err != nil {
		return kept(&refused{err, docs})
	}
	return errors.Join(c.printResults(&output{}, answer.GetResults(), false), os.Remove(path))
}

func temporary(kind string, content []byte) (string, error) {
	f, err := os.CreateTemp("", "weft-"+strings.ToLower(kind)+"-*.yaml") // 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	return f.Name(), errors.Join(err, f.Close())
}

// edited runs the editor on a file and reads what it left. EDITOR may hold
// arguments, so a shell takes it apart, as git does.
func (c *cli) edited(ctx context.Context, path string) ([]byte, error) {
	editor := "vi"
	for _, name := range []string{"EDITOR", "VISUAL"} {
		if v := c.env(name); v != "" {
			editor = v
		}
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, editor, path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("editor %s: %w; set EDITOR, or write: weft get -o yaml, weft replace -f", editor, err)
	}
	return os.ReadFile(path)
}
