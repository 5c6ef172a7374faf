package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
	"google.golang.org/grpc/status"
)

// Times of commands that move files.
const (
	backupWithin  = 5 * time.Minute // one backup, or one file sent
	restoreWithin = 5 * time.Minute // until the new epoch serves
	backupPart    = 256 << 10       // bytes of one message
)

func (c *cli) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "backup",
		Short:   "Save the fabric's store, look at backups, restore one",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE:    subcommandNeeded,
	}
	cmd.AddCommand(c.backupSaveCommand(), c.backupListCommand(), c.backupVerifyCommand(), c.backupRestoreCommand())
	return cmd
}

func (c *cli) backups() (weftv1.BackupsClient, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return weftv1.NewBackupsClient(conn), nil
}

func (c *cli) backupSaveCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "save",
		Short: "Make a backup now, in the folder of the server that is asked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.backups()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), backupWithin)
			defer cancel()
			answer, err := client.Save(ctx, &weftv1.BackupsSaveRequest{})
			if err != nil {
				return err
			}
			if o.isData() {
				return c.printMessage(&o, answer)
			}
			b := answer.GetBackup()
			return c.printf("%s saved in %s on %s: revision %d, %s\n", b.GetName(), answer.GetFolder(), b.GetServer(), b.GetRevision(), bytesText(b.GetSizeBytes()))
		},
	}
	o.flags(cmd)
	return cmd
}

func (c *cli) backupListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the backups of all servers, the youngest first",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.backups()
			if err != nil {
				return err
			}
			answer, err := client.List(cmd.Context(), &weftv1.BackupsListRequest{Everywhere: true})
			if err != nil {
				return err
			}
			return c.printBackups(&o, answer)
		},
	}
	o.flags(cmd)
	return cmd
}

func (c *cli) printBackups(o *output, answer *weftv1.BackupsListResponse) error {
	if o.isData() {
		return c.printMessage(o, answer)
	}
	if o.format == asName {
		for _, b := range answer.GetBackups() {
			if err := c.printf("%s\n", b.GetName()); err != nil {
				return err
			}
		}
		return nil
	}
	for _, u := range answer.GetUnheard() {
		c.say("not in the list: the backups of server %s: %s", u.GetServer(), u.GetWhy())
	}
	if len(answer.GetBackups()) == 0 {
		c.say("no backups in %s on %s, nor on another server that answers", answer.GetFolder(), answer.GetServer())
		return nil
	}
	t := table.Table{Titles: []string{"NAME", "SERVER", "AGE", "WHY", "EPOCH", "REVISION", "SIZE", "VERSION", "ERROR"}}
	for _, b := range answer.GetBackups() {
		t.Add(b.GetName(), cmp.Or(b.GetHolder(), answer.GetServer()), table.Since(b.GetTimeUnix(), c.now()), b.GetWhy(), fmt.Sprint(b.GetEpoch()), fmt.Sprint(b.GetRevision()),
			bytesText(b.GetSizeBytes()), b.GetVersion(), b.GetError())
	}
	return c.printTable(o, &t)
}

func (c *cli) backupVerifyCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Read a backup to its end: a file here, one of a server by its name, or latest",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.backups()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), backupWithin)
			defer cancel()
			stream, err := client.Verify(ctx)
			if err != nil {
				return err
			}
			err = sendFile(args[0], func(f *weftv1.BackupFile) error { return stream.Send(&weftv1.BackupsVerifyRequest{File: f}) })
			if err != nil {
				return err
			}
			answer, err := stream.CloseAndRecv()
			if err != nil {
				return sent(args[0], err)
			}
			if o.isData() {
				return c.printMessage(&o, answer)
			}
			return c.printVerified(args[0], answer)
		},
	}
	o.flags(cmd)
	return cmd
}

func (c *cli) printVerified(file string, v *weftv1.BackupsVerifyResponse) error {
	b := v.GetBackup()
	var b2 strings.Builder
	title(&b2, "backup", "%s is whole: %s, SHA-256 %s", file, count(int(v.GetKeys()), "key"), v.GetSha256())
	title(&b2, "fabric", "%s  epoch %d  revision %d", b.GetFabric(), b.GetEpoch(), b.GetRevision())
	title(&b2, "made", "%s by %s, release %s", time.Unix(b.GetTimeUnix(), 0).UTC().Format(time.RFC3339), orDash(b.GetServer()), b.GetVersion())
	var objects []string
	for _, k := range slices.Sorted(maps.Keys(v.GetObjects())) {
		objects = append(objects, fmt.Sprintf("%d %s", v.GetObjects()[k], k))
	}
	title(&b2, "objects", "%s", orDash(strings.Join(objects, ", ")))
	same := "it is of this fabric"
	if !v.GetSameFabric() {
		same = "it is of ANOTHER fabric than the server that was asked"
	}
	title(&b2, "", "%s", same)
	if v.GetSealed() != "yes" {
		title(&b2, "", "a new store could not be made of it on this server: %s", v.GetSealed())
	}
	return c.printf("%s", b2.String())
}

// sendFile names a backup of the server, or sends the file that is here.
func sendFile(file string, send func(*weftv1.BackupFile) error) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsRune(file, os.PathSeparator) {
		return closed(send(&weftv1.BackupFile{File: &weftv1.BackupFile_Name{Name: file}}))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	part := make([]byte, backupPart)
	for {
		n, err := io.ReadFull(f, part)
		if n > 0 {
			if err := send(&weftv1.BackupFile{File: &weftv1.BackupFile_Part{Part: part[:n]}}); err != nil {
				return closed(err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			if n == 0 && err == io.EOF {
				info, _ := f.Stat()
				if info != nil && info.Size() == 0 {
					return fmt.Errorf("%s is empty", file)
				}
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
	}
}

// sent gives a file its name back: the server knows what it was sent as "the file".
func sent(file string, err error) error {
	s := status.Convert(err)
	if rest, ok := strings.CutPrefix(s.Message(), "the file: "); ok {
		return status.Error(s.Code(), file+": "+rest)
	}
	return err
}

// closed lets the server's own error come, which the answer holds.
func closed(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (c *cli) backupRestoreCommand() *cobra.Command {
	var o output
	var dry, wait bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring the fabric back to a backup: a file here, one of a server by its name, or latest",
		Long: "Bring the fabric back to a backup: a file here, one of a server by\nits name (weft backup ls), or latest, the youngest of all servers.\n\n" +
			"What is there now is saved first. Then all servers stop serving for a moment, and\n" +
			"a new epoch begins. Data paths run on; leases younger than the backup are learned\n" +
			"again from the agents that carry them. --dry-run says what would change.",
		Example: "  weft backup restore auto-20260301T020000Z-r18412.weft.gz --dry-run",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.restore(cmd.Context(), &o, args[0], dry, wait)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would change, and change nothing")
	cmd.Flags().BoolVar(&wait, "wait", true, "wait until the new epoch is served")
	return cmd
}

func (c *cli) restore(ctx context.Context, o *output, file string, dry, wait bool) error {
	answer, err := c.beginRestore(ctx, file, dry)
	if err != nil {
		return err
	}
	from := restoredFrom(answer)
	if !dry {
		restores := cmp.Or(answer.GetServer(), answer.GetBackup().GetServer())
		c.say("restoring %s; what was there is saved as %s on %s; epoch %d begins", from, answer.GetAside(), restores, answer.GetEpoch())
		if wait {
			if err := c.awaitEpoch(ctx, answer); err != nil {
				return err
			}
		}
	}
	if o.isData() {
		return c.printMessage(o, answer)
	}
	if dry {
		return c.printPreview(answer)
	}
	return c.printf("restored: epoch %d, of %s\n", answer.GetEpoch(), from)
}

// beginRestore sends the file, or its name.
func (c *cli) beginRestore(ctx context.Context, file string, dry bool) (*weftv1.BackupsRestoreResponse, error) {
	client, err := c.backups()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, backupWithin)
	defer cancel()
	stream, err := client.Restore(ctx)
	if err != nil {
		return nil, err
	}
	err = sendFile(file, func(f *weftv1.BackupFile) error {
		return stream.Send(&weftv1.BackupsRestoreRequest{DryRun: dry, File: f})
	})
	if err != nil {
		return nil, err
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return nil, sent(file, err)
	}
	return answer, nil
}

// restoredFrom names the file that was restored, and whose it is.
func restoredFrom(a *weftv1.BackupsRestoreResponse) string {
	b := a.GetBackup()
	text := b.GetName()
	switch holder := cmp.Or(b.GetHolder(), b.GetServer()); {
	case a.GetCopiedAs() == "" || a.GetCopiedAs() == b.GetName():
		text += " on server " + holder
	default:
		text += fmt.Sprintf(" of server %s, copied to %s as %s", holder, a.GetServer(), a.GetCopiedAs())
	}
	return text
}

// ops are what a restore does, in the order and the words of a dry run.
var ops = []struct{ op, word string }{{"remove", "removed"}, {"change", "changed"}, {"add", "added"}}

func (c *cli) printPreview(a *weftv1.BackupsRestoreResponse) error {
	var b strings.Builder
	from := a.GetBackup()
	name := from.GetName()
	if from.GetHolder() != "" {
		name += " on server " + from.GetHolder()
	}
	fmt.Fprintf(&b, "%s: fabric %s, epoch %d, revision %d, of %s\n", name, from.GetFabric(), from.GetEpoch(), from.GetRevision(),
		time.Unix(from.GetTimeUnix(), 0).UTC().Format(time.RFC3339))
	for _, op := range ops {
		var objects []string
		for _, change := range a.GetChanges() {
			if change.GetOp() == op.op {
				objects = append(objects, change.GetObject())
			}
		}
		if len(objects) > 0 {
			fmt.Fprintf(&b, "would be %s: %s\n", op.word, strings.Join(objects, ", "))
		}
	}
	if len(a.GetChanges()) == 0 {
		b.WriteString("nothing differs from it\n")
	}
	if len(a.GetYounger()) > 0 {
		b.WriteString("leases that it does not know, which stay as they are:\n")
		t := table.Table{Titles: []string{"NODE", "LEASE", "HEARD"}}
		for _, l := range a.GetYounger() {
			t.Add(l.GetNode(), strings.Join(l.GetPrefixes(), ","), table.Since(l.GetHeardUnix(), c.now()))
		}
		b.WriteString(t.Text(false))
	}
	fmt.Fprintf(&b, "nothing was changed; a restore begins epoch %d\n", a.GetEpoch())
	return c.printf("%s", b.String())
}
