package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/forgeauth/forgeauth"
	"github.com/forgeauth/forgeauth/forge"
	"github.com/forgeauth/forgeauth/forge/forgetest"
	"github.com/forgeauth/forgeauth/internal/localpg"
	"github.com/forgeauth/forgeauth/proof"
	"github.com/forgeauth/forgeauth/secret"
)

// demoOptions are the flags of the demo.
type demoOptions struct {
	exit   bool   // end after the script
	json   bool   // one JSON object per line
	listen string // empty means [forgeauth.DefaultListen] if that is free, else any free port

	disturb func(a, b *forgetest.Forge) // called before the script
}

func (p *program) demoCommand() *cobra.Command {
	var o demoOptions
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show everything, with no account and no set-up",
		Long: `Runs forgeauth with a Postgres in a temporary directory and two stand-in forges
on loopback, and lets a scripted operator go through the whole story over HTTP:
claim the deployment, sign in, switch, disconnect, sign in again. Each line says
what was done and which events of the log that wrote; each was checked. Then it
stays up, and prints where you can click through the same, until Ctrl-C removes
all of it.

With DATABASE_URL naming an empty database the demo migrates and uses that one,
and leaves its history there. Of the other settings it heeds only those of logs.

Exits with 0 if everything held and with 1 at the first step that did not,
having printed what was expected and what came instead.`,
		Example: `  forgeauth demo
  forgeauth demo --exit
  forgeauth demo --exit --json |
    jq -c 'select(.type == "step") | [.step, .events[].type]'
  createdb story && export DATABASE_URL=postgres:///story
  forgeauth demo --exit && forgeauth verify`,
		Args: cobra.NoArgs,
		RunE: p.action(func(ctx context.Context, _ []string) error { return p.demo(ctx, o) }),
	}
	command.Flags().BoolVar(&o.exit, "exit", false, "end after the script instead of staying up")
	command.Flags().StringVar(&o.listen, "listen", "", "loopback address and port to serve on\n(default "+forgeauth.DefaultListen+", or any port if that is taken)")
	command.Flags().BoolVar(&o.json, "json", false, "print one JSON object per line")
	return command
}

// demo runs the demo until its end, or with no end until ctx ends; nothing of it is left then.
func (p *program) demo(ctx context.Context, o demoOptions) (err error) {
	// A reader that leaves (demo | head) is an error of printing then, and not the end of the process on the spot.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	e, err := p.demoEnvironment()
	if err != nil {
		return err
	}
	out := p.demoOutput(o)
	d, err := p.openDemo(ctx, o, e, out)
	if errors.Is(err, context.Canceled) {
		return context.Cause(ctx) // what initdb said when it was cut short is of no use to anybody
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	group, running := errgroup.WithContext(ctx)
	serving, stopServing := context.WithCancel(running)
	defer stopServing()
	group.Go(func() error { return d.deployment.run(serving, d.listener, nil, d.logger) })
	group.Go(func() error {
		defer stopServing()
		defer d.closeForges() // first of all: requests that wait for a forge would hold up the shutdown
		if err := d.play(running, out); err != nil {
			return err
		}
		if o.exit {
			return nil
		}
		if err := out.stay(d); err != nil {
			return err
		}
		<-running.Done()
		return nil
	})
	return group.Wait() //nolint:wrapcheck // each of them says what failed
}

// demoEnvironment reads what the demo heeds of the environment. It says little by itself: the script is what is to be seen.
func (p *program) demoEnvironment() (forgeauth.Environment, error) {
	heeded := []string{"DATABASE_URL", "DATABASE_URL_FILE", "FORGEAUTH_LOG_LEVEL", "FORGEAUTH_LOG_FORMAT"}
	// The last of a name counts. The data directory is not used; naming one keeps a missing HOME from being a fault.
	environ := []string{"FORGEAUTH_LOG_LEVEL=warn", "FORGEAUTH_DATA_DIR=/"}
	for _, entry := range p.environ {
		name, value, _ := strings.Cut(entry, "=")
		if slices.Contains(heeded, name) && (value != "" || strings.HasPrefix(name, "DATABASE_URL")) {
			environ = append(environ, entry)
		}
	}
	e, err := forgeauth.FromEnvironment(environ, forgeauth.Maintaining)
	if err != nil {
		return forgeauth.Environment{}, fmt.Errorf("read the environment: %w", err)
	}
	return e, nil
}

// The accounts of the stand-in forges. The operator has one at each; the visitor is nobody's.
const (
	demoOperator = "operator"
	demoVisitor  = "visitor"
)

// standIn is a stand-in forge and the connection to it.
type standIn struct {
	*forgetest.Forge

	connection forge.Connection
	title      string
	account    string // id of the operator's account there
	// repositories is how many that account can see.
	repositories int
}

// demoHouse is everything that the demo runs.
type demoHouse struct {
	listener   net.Listener
	origin     string
	a, b       standIn
	deployment *deployment
	lasting    bool   // the database is not ours, and stays
	kept       string // the folder of the newest checkpoint
	logger     *slog.Logger
}

// openDemo starts everything but the serving. It prints the beginning before what takes a moment.
func (p *program) openDemo(ctx context.Context, o demoOptions, e forgeauth.Environment, out demoOutput) (_ *demoHouse, err error) {
	d := &demoHouse{logger: p.logger(e), lasting: !e.Config.DatabaseURL.IsZero()}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close(ctx))
		}
	}()
	if d.lasting {
		if err := requireEmpty(ctx, e.Config.DatabaseURL.Reveal()); err != nil {
			return nil, err
		}
	}
	if d.listener, err = listenOnLoopback(ctx, o.listen); err != nil {
		return nil, err
	}
	d.origin = "http://" + d.listener.Addr().String()
	if d.a, err = d.startForge(ctx, forge.GitHub, forgetest.GitHub, 1001, 123); err != nil {
		return nil, err
	}
	if d.b, err = d.startForge(ctx, forge.Forgejo, forgetest.Forgejo, 42, 7); err != nil {
		return nil, err
	}
	if o.disturb != nil {
		o.disturb(d.a.Forge, d.b.Forge)
	}
	d.deployment = &deployment{database: describe(e.Config.DatabaseURL.Reveal())}
	if !d.lasting {
		d.deployment.database = "a Postgres of its own in a temporary directory"
	}
	if err := out.begin(d); err != nil {
		return nil, err
	}
	if !d.lasting {
		// Not the demo's logger: that a download takes its time is worth a line.
		e.LogLevel = min(e.LogLevel, slog.LevelInfo)
		d.deployment.postgres, err = p.startPostgres(ctx, localpg.Config{Ephemeral: true, Logger: p.logger(e)})
		if err != nil {
			return nil, err
		}
		e.Config.DatabaseURL = secret.New(d.deployment.postgres.URL())
	}
	signing, public, err := d.signing()
	if err != nil {
		return nil, err
	}
	if d.lasting {
		p.note("the log that stays is signed; its public key: %s", public)
	}
	d.deployment.service, err = forgeauth.Open(ctx, forgeauth.Config{
		DatabaseURL: e.Config.DatabaseURL, MigrateOnOpen: true,
		EncryptionKey: secret.New(rand.Text() + rand.Text()),
		Signing:       signing,
		Listen:        d.listener.Addr().String(), PublicURL: d.origin,
		Connections: []forge.Connection{d.a.connection, d.b.connection},
		Logger:      d.logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	return d, nil
}

// signing makes a key for this demo and a place for its newest checkpoint.
func (d *demoHouse) signing() (config forgeauth.SigningConfig, public string, err error) {
	key, public, err := proof.GenerateKey("demo.forgeauth.example/log")
	if err != nil {
		return config, "", err
	}
	if d.kept, err = os.MkdirTemp("", "forgeauth-demo-*"); err != nil {
		return config, "", fmt.Errorf("make a place for the checkpoint: %w", err)
	}
	return forgeauth.SigningConfig{Key: key, CheckpointFile: filepath.Join(d.kept, "checkpoint")}, public, nil
}

func (d *demoHouse) startForge(ctx context.Context, kind forge.Kind, dialect forgetest.Dialect, account int64, repositories int) (standIn, error) {
	info, ok := forge.Info(kind)
	if !ok {
		return standIn{}, fmt.Errorf("unknown kind %q", kind)
	}
	client := forgetest.Client{
		ID: "demo-" + string(kind), Secret: rand.Text(), Name: "forgeauth",
		RedirectURIs: []string{d.origin + "/oauth/" + string(kind) + "/callback"},
	}
	started, err := forgetest.Listen(ctx, forgetest.Config{
		Dialect: dialect, Clients: []forgetest.Client{client}, RequirePKCE: true, Logger: d.logger,
		Users: []forgetest.User{
			{ID: account, Login: demoOperator, Name: "owner of this deployment", Repositories: forgetest.Repositories(account*1000, repositories)},
			{ID: account + 1, Login: demoVisitor, Name: "a stranger to it"},
		},
	})
	if err != nil {
		return standIn{}, fmt.Errorf("start a stand-in forge: %w", err)
	}
	return standIn{
		Forge: started, title: info.Title, account: strconv.FormatInt(account, 10), repositories: repositories,
		connection: forge.Connection{
			Name: string(kind), Kind: kind, BaseURL: started.URL(), ClientID: client.ID, ClientSecret: secret.New(client.Secret),
			Scopes: info.Scopes, Login: true,
		},
	}, nil
}

// listenOnLoopback listens on the address, or without one on the default and where that is taken on any free port.
func listenOnLoopback(ctx context.Context, address string) (net.Listener, error) {
	var config net.ListenConfig
	if address == "" {
		listener, err := config.Listen(ctx, "tcp", forgeauth.DefaultListen)
		if err != nil {
			listener, err = config.Listen(ctx, "tcp", "127.0.0.1:0")
		}
		if err != nil {
			return nil, fmt.Errorf("listen on loopback: %w", err)
		}
		return listener, nil
	}
	given := strings.Replace(address, "localhost:", "127.0.0.1:", 1)
	if parsed, err := netip.ParseAddrPort(given); err != nil || !parsed.Addr().IsLoopback() {
		return nil, fmt.Errorf("cannot listen on %q: the demo's accounts have no passwords, so it takes a loopback address and a port only, "+
			"such as 127.0.0.1:9000", address)
	}
	listener, err := config.Listen(ctx, "tcp", given)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: choose another address with --listen", address, err)
	}
	return listener, nil
}

func (d *demoHouse) closeForges() {
	for _, f := range []standIn{d.a, d.b} {
		if f.Forge != nil {
			f.Close()
		}
	}
}

// close ends what openDemo started.
func (d *demoHouse) close(ctx context.Context) error {
	d.closeForges()
	if d.listener != nil {
		_ = d.listener.Close() // mostly the server has
	}
	if d.deployment == nil {
		return nil
	}
	err := d.deployment.close(ctx)
	if d.kept != "" {
		err = errors.Join(err, os.RemoveAll(d.kept))
	}
	return err
}
