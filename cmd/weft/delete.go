package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/document"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type removal struct {
	files
	output
	dry       dryRun
	namespace string
	absentOK  bool
}

func (c *cli) deleteCommand() *cobra.Command {
	var r removal
	cmd := &cobra.Command{
		Use:     "delete KIND NAME... | KIND/NAME... | -f FILE",
		Short:   "Delete objects; a deleted node is cut off and gives its lease back",
		GroupID: groupObjects,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == (len(r.paths) > 0) {
				return errors.New("what? write: weft delete KIND NAME, or weft delete -f FILE")
			}
			return c.delete(cmd.Context(), &r, args)
		},
		ValidArgsFunction: c.completeObjects,
	}
	r.files.flags(cmd)
	r.output.flags(cmd)
	r.dry.flag(cmd)
	cmd.Flags().StringVarP(&r.namespace, "namespace", "n", defaultNamespace, "of this namespace, for kinds that have them")
	cmd.Flags().BoolVar(&r.absentOK, "ignore-not-found", false, "what is not there counts as deleted")
	return cmd
}

func (c *cli) delete(ctx context.Context, r *removal, args []string) error {
	docs, items, err := c.doomed(ctx, r, args)
	if err != nil {
		return err
	}
	client, err := c.resources()
	if err != nil {
		return err
	}
	if r.absentOK {
		if items, err = present(ctx, client, items); err != nil || len(items) == 0 {
			return err
		}
	}
	answer, err := client.Delete(ctx, &weftv1.DeleteRequest{Items: items, DryRun: bool(r.dry)})
	if err != nil {
		return &refused{err, docs}
	}
	return c.printResults(&r.output, answer.GetResults(), bool(r.dry))
}

// doomed lists what is to be deleted, by command line or by files.
func (c *cli) doomed(ctx context.Context, r *removal, args []string) ([]document.Document, []*weftv1.GetRequest, error) {
	var items []*weftv1.GetRequest
	if len(args) == 0 {
		docs, err := r.read(c)
		for _, d := range docs {
			m := d.Resource.GetMetadata()
			items = append(items, &weftv1.GetRequest{Kind: d.Resource.GetKind(), Namespace: m.GetNamespace(), Name: m.GetName()})
		}
		return docs, items, err
	}
	targets, err := c.targets(ctx, args)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range targets {
		if len(t.names) == 0 {
			return nil, nil, errors.New("which " + t.kind.GetPlural() + "? name them")
		}
		for _, name := range t.names {
			item := &weftv1.GetRequest{Kind: t.kind.GetName(), Name: name}
			if t.kind.GetNamespaced() {
				item.Namespace = r.namespace
			}
			items = append(items, item)
		}
	}
	return nil, items, nil
}

// present leaves out what is not there.
func present(ctx context.Context, client weftv1.ResourcesClient, items []*weftv1.GetRequest) ([]*weftv1.GetRequest, error) {
	var out []*weftv1.GetRequest
	for _, item := range items {
		_, err := client.Get(ctx, item)
		switch status.Code(err) {
		case codes.OK:
			out = append(out, item)
		case codes.NotFound:
		default:
			return nil, err
		}
	}
	return out, nil
}
