package backfill

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// Origin is a server that may be fetched from: scheme, host and port.
type Origin struct {
	Scheme string // http or https
	Host   string // a name in lower case, or a literal address without brackets
	Port   string // decimal
	// Within, unless empty, are the addresses to which the name may resolve, and no others. Empty: a name may resolve to
	// public and private addresses, and a literal address is itself.
	Within []netip.Prefix
}

// ParseOrigin reads an origin: scheme://host[:port], and for a name that is to be held to certain addresses
// scheme://name[:port]=CIDR[,CIDR...]. The scheme is http or https; where it is left out, which needs a CIDR, it is
// https if the port is 443 and http otherwise.
func ParseOrigin(s string) (Origin, error) {
	fail := func(rule string) (Origin, error) {
		return Origin{}, fmt.Errorf("backfill: origin %s: %s", quote(masked(s)), rule)
	}
	address, list, held := strings.Cut(s, "=")
	if !strings.Contains(address, "://") {
		if !held {
			return fail("it has no scheme: write http://host:port or https://host:port")
		}
		if strings.HasSuffix(address, ":443") {
			address = "https://" + address
		} else {
			address = "http://" + address
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		return fail("it is no URL")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return fail("it has more than scheme, host and port")
	}
	o, err := originOf(u)
	if err != nil {
		return fail(err.Error())
	}
	if !held {
		return o, nil
	}
	if _, err := netip.ParseAddr(o.Host); err == nil {
		return fail("a literal address is allowed as it stands, without a CIDR")
	}
	for _, text := range strings.Split(list, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || p.Masked() != p || p.Addr().Is4In6() {
			return fail(quote(text) + " is no CIDR, such as 10.0.0.0/8")
		}
		o.Within = append(o.Within, p)
	}
	return o, nil
}

// errUser refuses URLs of a kind that would end in logs, in the files of jobs, and in what is told of them.
var errUser = errors.New("it holds a user's name or a password, which would be told wherever the URL is: leave them out, and have the source let this host in by its address, or by a proxy before it that adds them")

// masked is an URL, or what somebody took for one, without its password.
func masked(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		rest = s
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	at := strings.LastIndexByte(rest[:end], '@')
	switch {
	case at < 0:
		return s
	case !ok:
		return "xxxxx" + rest[at:]
	}
	return scheme + "://xxxxx" + rest[at:]
}

// originOf is the origin of an URL.
func originOf(u *url.URL) (Origin, error) {
	o := Origin{Scheme: strings.ToLower(u.Scheme), Host: strings.ToLower(u.Hostname()), Port: u.Port()}
	switch {
	case o.Scheme != "http" && o.Scheme != "https":
		return o, fmt.Errorf("the scheme %s is neither http nor https", quote(u.Scheme))
	case u.User != nil:
		return o, errUser
	case o.Host == "" || u.Opaque != "":
		return o, fmt.Errorf("it has no host")
	}
	for _, r := range o.Host {
		if r > unicode.MaxASCII || r <= ' ' || strings.ContainsRune(`%/\@?#`, r) {
			return o, fmt.Errorf("the host %s is neither a name nor an address", quote(o.Host))
		}
	}
	if o.Port == "" {
		o.Port = map[string]string{"http": "80", "https": "443"}[o.Scheme]
	}
	n, err := strconv.ParseUint(o.Port, 10, 16)
	if err != nil || n == 0 {
		return o, fmt.Errorf("the port %s is none", quote(o.Port))
	}
	o.Port = strconv.FormatUint(n, 10)
	if a, err := netip.ParseAddr(o.Host); err == nil {
		o.Host = a.String()
	}
	return o, nil
}

// String is the origin as an URL has it, without the addresses it is held to.
func (o Origin) String() string { return o.Scheme + "://" + net.JoinHostPort(o.Host, o.Port) }

// allows reports whether a connection to the address may be made for this origin.
func (o Origin) allows(a netip.Addr) bool {
	a = a.Unmap()
	if literal, err := netip.ParseAddr(o.Host); err == nil {
		return a == literal.Unmap()
	}
	if len(o.Within) > 0 {
		for _, p := range o.Within {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	return ordinary(a)
}

// metadata is where a cloud's hosts ask for their own credentials over IPv6; over IPv4 that is a link-local address.
var metadata = netip.MustParseAddr("fd00:ec2::254")

// ordinary reports whether a is an address of a host elsewhere, be it public or private.
func ordinary(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() ||
		a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast() {
		return false
	}
	if a.Is4() {
		b := a.As4()
		return b[0] != 0 && b[0] < 240 // "this network" (RFC 1122), reserved and broadcast
	}
	b := a.As16() // of an IPv4 address within it that one counts
	for _, embedding := range []struct {
		prefix string
		at     int
	}{{"::/96", 12}, {"::ffff:0:0:0/96", 12}, {"64:ff9b::/96", 12}, {"2002::/16", 2}} { // RFC 4291, 7915, 6052, 3056
		if netip.MustParsePrefix(embedding.prefix).Contains(a) {
			return ordinary(netip.AddrFrom4([4]byte(b[embedding.at:])))
		}
	}
	for _, hidden := range []string{"64:ff9b:1::/48", "2001::/32"} { // RFC 8215, 4380: nobody sees which one
		if netip.MustParsePrefix(hidden).Contains(a) {
			return false
		}
	}
	return a != metadata
}

// origins are those that are listed.
type origins []Origin

// find returns the listed origin of an URL; the error is an *OriginError.
func (list origins) find(of Origin) (Origin, error) {
	for _, o := range list {
		if o.Scheme == of.Scheme && o.Host == of.Host && o.Port == of.Port {
			return o, nil
		}
	}
	return Origin{}, &OriginError{Origin: of.String()}
}
