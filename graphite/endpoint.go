package graphite

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Endpoint is where to listen, as a Twisted server endpoint description tells it.
type Endpoint struct {
	// Network is "tcp", "tcp4", "tcp6" or "unix".
	Network string
	// Address is host:port, or the path of a unix socket. An empty host is every interface.
	Address string
	// Mode is the permission of a unix socket; ParseEndpoint sets 0666 unless the description has mode=, as Twisted
	// does. 0 leaves what the process's umask makes of it.
	Mode os.FileMode
	// KeyFile and CertFile are PEM files; both empty means no TLS. One file may hold both.
	KeyFile, CertFile string
	// ChainFile, if set, is a PEM file of intermediate certificates.
	ChainFile string
	// ClientCAFile, if set, is a PEM file of authorities: a client must show a certificate signed by one of them.
	ClientCAFile string
}

// EndpointError tells why an endpoint description cannot be used.
type EndpointError struct {
	Description string
	Problem     string
	Err         error // the cause, if there is one
}

// Error tells the problem and the description.
func (e *EndpointError) Error() string {
	s := fmt.Sprintf("graphite: endpoint %q: %s", e.Description, e.Problem)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *EndpointError) Unwrap() error { return e.Err }

// endpointKeys are the arguments of each kind in Twisted's order: those without a key take these places.
func endpointKeys(kind string) []string {
	switch kind {
	case "tcp", "tcp4", "tcp6":
		return []string{"port", "interface", "backlog"}
	case "unix":
		return []string{"address", "mode", "backlog", "lockfile"}
	case "ssl":
		return []string{"port", "privateKey", "certKey", "sslmethod", "interface", "backlog", "extraCertChain",
			"dhParameters", "clientCA"}
	}
	return nil
}

// ParseEndpoint reads a Twisted server endpoint description:
//
//	tcp:2004                          every interface
//	tcp:2004:interface=127.0.0.1      one
//	tcp6:2004:interface=\:\:1         a colon in a value is escaped
//	unix:/run/flux.sock:mode=660
//	ssl:2004:privateKey=key.pem:certKey=cert.pem:extraCertChain=chain.pem:clientCA=ca.pem
//
// As in Twisted, arguments may stand without their keys, in this order: tcp port, interface, backlog; unix address,
// mode, backlog, lockfile; ssl port, privateKey, certKey, sslmethod, interface. privateKey defaults to server.pem and
// certKey to privateKey. clientCA is an addition. backlog, lockfile and dhParameters are read and have no effect: the
// system's backlog is used, and a stale socket file is replaced without a lock. sslmethod may ask for TLS 1.2 or newer
// only, in which case it has none either. The error is an *EndpointError.
func ParseEndpoint(description string) (Endpoint, error) {
	kind, args, err := endpointArgs(description)
	if err != nil {
		return Endpoint{}, err
	}
	p := endpointParser{description, args}
	if kind == "unix" {
		return p.unix()
	}
	return p.tcp(kind)
}

// ParseListen reads what a listening option takes: a description as ParseEndpoint does, a plain host:port such as
// "127.0.0.1:2003", "[::1]:2003" or ":2003", or the absolute path of a unix socket. Text that starts with a kind and a
// colon is a description.
func ParseListen(s string) (Endpoint, error) {
	kind, _, _ := strings.Cut(s, ":")
	if endpointKeys(kind) != nil {
		return ParseEndpoint(s)
	}
	if strings.HasPrefix(s, "/") {
		return Endpoint{Network: "unix", Address: s, Mode: defaultSocketMode}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Endpoint{}, &EndpointError{s, "neither host:port nor a description such as tcp:2004", err}
	}
	if _, err := portNumber(port); err != nil {
		return Endpoint{}, &EndpointError{s, "port", err}
	}
	return Endpoint{Network: "tcp", Address: net.JoinHostPort(host, port)}, nil
}

const defaultSocketMode = 0o666

// endpointArgs splits a description into its kind and its arguments by key. A backslash escapes the next character;
// of the equals signs in an argument only the first divides.
func endpointArgs(description string) (kind string, args map[string]string, err error) {
	fail := func(format string, a ...any) (string, map[string]string, error) {
		return "", nil, &EndpointError{description, fmt.Sprintf(format, a...), nil}
	}
	args = map[string]string{}
	var names []string
	placed := 0 // arguments without a key so far
	for n, rest, more := 0, description, true; more; n++ {
		var key, value string
		var keyed, ok bool
		key, value, keyed, rest, more, ok = endpointArg(rest)
		if !ok {
			return fail("a backslash at the end escapes nothing")
		}
		switch {
		case n == 0:
			if names = endpointKeys(value); keyed || names == nil {
				return fail("unknown kind %q: use tcp, tcp4, tcp6, unix or ssl", key+value)
			}
			kind = value
			continue
		case !keyed && placed == len(names):
			return fail("more than the %d arguments of %s", len(names), kind)
		case !keyed:
			key = names[placed]
			placed++
		case !slices.Contains(names, key):
			return fail("unknown key %q: %s has %s", key, kind, strings.Join(names, ", "))
		}
		if _, twice := args[key]; twice && slices.Index(names, key) < placed {
			return fail("%s is given both by its place and by its key", key)
		}
		args[key] = value
	}
	return kind, args, nil
}

// endpointArg reads one argument, up to a colon or the end.
func endpointArg(s string) (key, value string, keyed bool, rest string, more, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
			if i == len(s) {
				return "", "", false, "", false, false
			}
			b.WriteByte(s[i])
		case c == ':':
			return key, b.String(), keyed, s[i+1:], true, true
		case c == '=' && !keyed:
			key, keyed = b.String(), true
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	return key, b.String(), keyed, "", false, true
}

// endpointParser turns the arguments of a description into an Endpoint.
type endpointParser struct {
	description string
	args        map[string]string
}

func (p *endpointParser) fail(problem string, err error) (Endpoint, error) {
	return Endpoint{}, &EndpointError{p.description, problem, err}
}

func (p *endpointParser) tcp(kind string) (Endpoint, error) {
	port, ok := p.args["port"]
	if !ok {
		return p.fail("no port", nil)
	}
	n, err := portNumber(strings.TrimSpace(port))
	if err != nil {
		return p.fail("port", err)
	}
	if err := p.checkBacklog(); err != nil {
		return p.fail("backlog", err)
	}
	host := p.args["interface"]
	if _, err := netip.ParseAddr(host); err != nil && strings.ContainsAny(host, ":[]") {
		return p.fail(fmt.Sprintf("interface %q is neither a host nor an IP address", host), nil)
	}
	e := Endpoint{Network: kind, Address: net.JoinHostPort(host, strconv.Itoa(n))}
	if kind != "ssl" {
		return e, nil
	}
	e.Network = "tcp"
	switch m := p.args["sslmethod"]; m {
	case "", "TLS_METHOD", "SSLv23_METHOD", "TLSv1_2_METHOD":
	default:
		return p.fail(fmt.Sprintf("sslmethod %q is older than TLS 1.2, the oldest that is offered", m), nil)
	}
	e.KeyFile = p.or("privateKey", "server.pem")
	e.CertFile = p.or("certKey", e.KeyFile)
	e.ChainFile = p.args["extraCertChain"]
	e.ClientCAFile = p.args["clientCA"]
	return e, nil
}

func (p *endpointParser) unix() (Endpoint, error) {
	e := Endpoint{Network: "unix", Address: p.args["address"], Mode: defaultSocketMode}
	if e.Address == "" {
		return p.fail("no path", nil)
	}
	if mode, ok := p.args["mode"]; ok {
		m, err := strconv.ParseUint(mode, 8, 32)
		if err != nil || m == 0 || m > 0o777 {
			return p.fail(fmt.Sprintf("mode %q is not an octal permission from 1 to 777", mode), nil)
		}
		e.Mode = os.FileMode(m)
	}
	if err := p.checkBacklog(); err != nil {
		return p.fail("backlog", err)
	}
	return e, nil
}

func (p *endpointParser) checkBacklog() error {
	if b, ok := p.args["backlog"]; ok {
		_, err := strconv.ParseUint(b, 10, 31)
		return err
	}
	return nil
}

func (p *endpointParser) or(key, other string) string {
	if v := p.args[key]; v != "" {
		return v
	}
	return other
}

// portNumber reads a port, 0 for one of the system's choice.
func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number from 0 to 65535", s)
	}
	return int(n), nil
}

// String is the description that ParseEndpoint reads back as the same Endpoint.
func (e Endpoint) String() string {
	if e.Network == "unix" {
		s := "unix:" + escapeEndpoint(e.Address)
		if e.Mode != 0 && e.Mode != defaultSocketMode {
			s += fmt.Sprintf(":mode=%o", e.Mode)
		}
		return s
	}
	host, port, _ := net.SplitHostPort(e.Address)
	kind := e.Network
	if e.CertFile != "" {
		kind = "ssl"
	}
	s := kind + ":" + port
	for _, arg := range [...]struct{ key, value string }{
		{"interface", host}, {"privateKey", e.KeyFile}, {"certKey", e.CertFile},
		{"extraCertChain", e.ChainFile}, {"clientCA", e.ClientCAFile},
	} {
		if arg.value != "" {
			s += ":" + arg.key + "=" + escapeEndpoint(arg.value)
		}
	}
	return s
}

func escapeEndpoint(s string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `=`, `\=`).Replace(s)
}
