package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/fluxmetrics/fluxkit/blueflood"
)

// keystoneOptions are who to be, for a Blueflood behind a Keystone.
type keystoneOptions struct {
	User         string `group:"keystone" short:"u" placeholder:"USER" help:"User to get tokens for. Without it no token is sent."`
	Key          string `group:"keystone" short:"k" placeholder:"KEY" help:"The user's API key. Others on this host can read a command line: prefer --key-file."`
	KeyFile      string `group:"keystone" placeholder:"FILE" help:"File whose first line is the API key."`
	Password     string `group:"keystone" placeholder:"WORD" help:"The user's password, in place of a key. Others on this host can read a command line: prefer --password-file."`
	PasswordFile string `group:"keystone" placeholder:"FILE" help:"File whose first line is the password."`
	AuthURL      string `group:"keystone" name:"auth-url" default:"https://identity.api.rackspacecloud.com/v2.0/tokens" placeholder:"URL" help:"Where Keystone gives tokens."`
	AuthTenant   string `group:"keystone" placeholder:"TENANT" help:"Tenant to ask tokens for. Default: the user's own."`
}

// closeAuth ends what a Keystone does beside its requests.
func closeAuth(auth blueflood.Authenticator) {
	if k, ok := auth.(*blueflood.Keystone); ok {
		k.Close()
	}
}

// auth is what adds tokens to requests, a *blueflood.Keystone, or nil where there is no user.
func (o keystoneOptions) auth(log *slog.Logger) (blueflood.Authenticator, error) {
	key, err := secret("key", o.Key, o.KeyFile)
	if err != nil {
		return nil, err
	}
	password, err := secret("password", o.Password, o.PasswordFile)
	if err != nil {
		return nil, err
	}
	switch {
	case o.User == "" && key+password+o.AuthTenant == "":
		return nil, nil
	case o.User == "":
		return nil, errors.New("--key, --password or --auth-tenant without --user: name the user with --user USER")
	case key == "" && password == "":
		return nil, errors.New("--user without its key: give the API key with --key-file FILE, or the password with --password-file FILE")
	case key != "" && password != "":
		return nil, errors.New("--key and --password are both given: Keystone takes one of them, so leave the other out")
	case o.AuthURL == "":
		return nil, errors.New("--auth-url is empty: name where Keystone gives tokens, such as https://keystone.example/v2.0/tokens")
	}
	k, err := blueflood.NewKeystone(blueflood.KeystoneConfig{
		URL: o.AuthURL, User: o.User, APIKey: key, Password: password, Tenant: o.AuthTenant, Logger: log,
	})
	if err != nil {
		return nil, fmt.Errorf("--auth-url, --user and its secret: %w", err)
	}
	return k, nil
}
