package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/weft-net/weft/cmd/weft/internal/table"
	"github.com/weft-net/weft/proto/join"
	"github.com/weft-net/weft/proto/note"
	weftv1 "github.com/weft-net/weft/proto/weft/v1"
)

func (c *cli) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "user",
		Short:   "Make, list, renew and revoke those who may ask and change the fabric",
		GroupID: groupFabric,
		Args:    cobra.NoArgs,
		RunE:    subcommandNeeded,
	}
	cmd.AddCommand(c.userCreateCommand(), c.userListCommand(), c.userRenewCommand(), c.userRevokeCommand())
	return cmd
}

func (c *cli) users() (weftv1.UsersClient, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	return weftv1.NewUsersClient(conn), nil
}

// newKey makes a user's key. It never leaves this machine but in the file that is
// written.
func newKey() (*ecdsa.PrivateKey, note.Secret, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("the user's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", fmt.Errorf("the user's key: %w", err)
	}
	return key, note.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// request is PKCS #10 in DER: the proof that who asks holds the key.
func request(name string, key any) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate request of user %s: %w", name, err)
	}
	return der, nil
}

func pems(der ...[]byte) []byte {
	var out []byte
	for _, b := range der {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b})...)
	}
	return out
}

// life reads --ttl, which knows days: nobody counts a year in hours.
func life(text string) (int64, error) {
	var days int64
	if n, err := fmt.Sscanf(text, "%dd", &days); n == 1 && err == nil && fmt.Sprintf("%dd", days) == text && days > 0 && days <= 3650 {
		return days * 24 * 3600, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Minute {
		return 0, fmt.Errorf("--ttl %q: write 365d, or 12h; a minute or more", text)
	}
	return int64(d / time.Second), nil
}

func (c *cli) userCreateCommand() *cobra.Command {
	var u newUser
	var ttl string
	cmd := &cobra.Command{
		Use:   "create NAME --role viewer|operator|admin|dialer",
		Short: "Make a user, and print its credentials; the key is made here and stays here",
		Example: "  weft user create ann --role viewer -o ann.yaml\n" +
			"  weft user create ci --role operator --ttl 30d > ci.yaml\n" +
			"  weft user create kube-apiserver --role dialer --pem /etc/weft/kube-apiserver",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds, err := life(ttl)
			if err != nil {
				return err
			}
			u.name, u.ttl = args[0], seconds
			if u.role == "" {
				return errors.New("--role is not given: viewer reads, operator also writes resources, admin also users, tokens, CA, backups and servers; dialer is for a kube-apiserver, which dials through tunnels and may do nothing else")
			}
			if _, err := os.Stat(u.out); u.out != "" && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is there already; choose another file with -o", u.out)
			}
			if err := u.writable(); err != nil {
				return err
			}
			return c.createUser(cmd.Context(), u)
		},
	}
	f := cmd.Flags()
	f.StringVar(&u.role, "role", "", "viewer, operator, admin or dialer")
	f.StringVar(&ttl, "ttl", "365d", "life of the certificate, as 365d or 12h")
	u.flags(f)
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"viewer", "operator", "admin", "dialer"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// newUser is who is to be made.
type newUser struct {
	name, role string
	ttl        int64 // of the certificate, in seconds
	keeping
}

func (c *cli) createUser(ctx context.Context, u newUser) error {
	key, secret, err := newKey()
	if err != nil {
		return err
	}
	csr, err := request(u.name, key)
	if err != nil {
		return err
	}
	client, err := c.users()
	if err != nil {
		return err
	}
	answer, err := client.Create(ctx, &weftv1.UsersCreateRequest{Name: u.name, Role: u.role, TtlSeconds: u.ttl, CertificateRequest: csr})
	if err != nil {
		return &refused{err: err}
	}
	own, err := c.credentials()
	if err != nil {
		return err
	}
	made := join.Credentials{Server: own.Server, Others: own.Others, User: u.name, CA: pems(answer.GetRoots()...), Cert: pems(answer.GetCertificate()), Key: secret}
	what := fmt.Sprintf("user/%s created, role %s, until %s", u.name, u.role, day(answer.GetStatus().GetEndsUnix()))
	if err := c.keep(made, u.keeping, what+"; the key is shown this once", what); err != nil {
		return fmt.Errorf("user %s was made, but its credentials could not be written: %w; get others: weft user renew %s -o FILE", u.name, err, u.name)
	}
	return nil
}

func (c *cli) userListCommand() *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List users, the revoked among them",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.users()
			if err != nil {
				return err
			}
			answer, err := client.List(cmd.Context(), &weftv1.UsersListRequest{})
			if err != nil {
				return err
			}
			return c.printUsers(&o, answer)
		},
	}
	o.flags(cmd)
	return cmd
}

func (c *cli) printUsers(o *output, answer *weftv1.UsersListResponse) error {
	if o.isData() {
		return c.printMessage(o, answer)
	}
	if o.format == asName {
		for _, u := range answer.GetUsers() {
			if err := c.printf("user/%s\n", u.GetName()); err != nil {
				return err
			}
		}
		return nil
	}
	t := table.Table{Titles: []string{"NAME", "ROLE", "AGE", "ENDS", "KEYS", "REVOKED"}}
	for _, u := range answer.GetUsers() {
		ends, revoked := c.ends(u.GetEndsUnix()), ""
		if u.GetRevokedUnix() != 0 {
			ends, revoked = "-", table.Since(u.GetRevokedUnix(), c.now())+" ago"
		}
		t.Add(u.GetName(), u.GetRole(), table.Since(u.GetCreatedUnix(), c.now()), ends, fmt.Sprint(u.GetKeys()), revoked)
	}
	return c.printTable(o, &t)
}

func (c *cli) userRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME...",
		Aliases: []string{"delete", "rm"},
		Short:   "End users' right to speak, at once and for good",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := c.users()
			if err != nil {
				return err
			}
			for _, name := range args {
				if _, err := client.Revoke(cmd.Context(), &weftv1.UsersRevokeRequest{Name: name}); err != nil {
					return &refused{err: err}
				}
				if err := c.printf("user/%s revoked\n", name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (c *cli) userRenewCommand() *cobra.Command {
	var ttl string
	var k keeping
	cmd := &cobra.Command{
		Use:   "renew [NAME]",
		Short: "Renew a user's certificate and the roots that it trusts; without a name your own, in place",
		Long: "Renew a user's certificate and the roots that it trusts.\n\n" +
			"Without a name, or with your own, the credentials file is written anew in place, with the same\n" +
			"key. Of another user an admin makes new credentials, with a new key, in the file of -o.",
		Example: "  weft user renew\n  weft user renew ops -o ops.yaml\n  weft user renew kube-apiserver --pem /etc/weft/kube-apiserver",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			seconds, err := life(ttl)
			if err != nil {
				return err
			}
			own, err := c.credentials()
			if err != nil {
				return err
			}
			name := own.User
			if len(args) > 0 {
				name = args[0]
			}
			if name == own.User && k.dir == "" {
				return c.renewOwn(cmd.Context(), own, seconds, k.out)
			}
			return c.renewOther(cmd.Context(), own, name, seconds, k)
		},
	}
	cmd.Flags().StringVar(&ttl, "ttl", "365d", "life of the certificate, as 365d or 12h")
	k.flags(cmd.Flags())
	return cmd
}

// renewOwn renews the caller's credentials, under the same key.
func (c *cli) renewOwn(ctx context.Context, own join.Credentials, ttl int64, out string) error {
	key, err := own.PrivateKey()
	if err != nil {
		return err
	}
	path, err := c.credentialsPath()
	if err != nil {
		return err
	}
	saved, err := join.LoadCredentials(path) // its own server, not that of --server
	if err != nil {
		return err
	}
	out = cmp.Or(out, path)
	if err := writable(out); err != nil {
		return err
	}
	answer, err := c.askRenewal(ctx, own.User, key, ttl)
	if err != nil {
		return err
	}
	saved.CA, saved.Cert = pems(answer.GetRoots()...), pems(answer.GetCertificate())
	if err := saved.Save(out); err != nil {
		return fmt.Errorf("renewed, but the file could not be written, and the old one is still good: %w", err)
	}
	return c.printf("user/%s renewed until %s, in %s\n", own.User, day(answer.GetStatus().GetEndsUnix()), out)
}

// renewOther makes new credentials for another user.
func (c *cli) renewOther(ctx context.Context, own join.Credentials, name string, ttl int64, k keeping) error {
	if err := k.writable(); err != nil {
		return err
	}
	key, secret, err := newKey()
	if err != nil {
		return err
	}
	answer, err := c.askRenewal(ctx, name, key, ttl)
	if err != nil {
		return err
	}
	made := join.Credentials{Server: own.Server, Others: own.Others, User: name, CA: pems(answer.GetRoots()...), Cert: pems(answer.GetCertificate()), Key: secret}
	what := fmt.Sprintf("user/%s renewed until %s", name, day(answer.GetStatus().GetEndsUnix()))
	return c.keep(made, k, what+"; give it these credentials, the key is shown this once", what)
}

func (c *cli) askRenewal(ctx context.Context, name string, key any, ttl int64) (*weftv1.UsersRenewResponse, error) {
	csr, err := request(name, key)
	if err != nil {
		return nil, err
	}
	client, err := c.users()
	if err != nil {
		return nil, err
	}
	answer, err := client.Renew(ctx, &weftv1.UsersRenewRequest{Name: name, TtlSeconds: ttl, CertificateRequest: csr})
	if err != nil {
		return nil, &refused{err: err}
	}
	return answer, nil
}
