package rig

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// Network is a network namespace that holds one end of a cable, whose other end
// is on this machine. It makes what the loopback never does: packets that get
// lost.
type Network struct {
	t       testing.TB
	name    string
	ip, nft string // programs
	Inside  string // address in the namespace
	Outside string // this machine's address on the cable
}

// NewNetwork makes a network, which ends with the test. It needs root and the
// Debian packages iproute2 and nftables. Its addresses are of 10.77.0.0/16.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	i := reserveNetwork(t)
	n := &Network{
		t: t, name: fmt.Sprintf("fluxkit%d", i),
		ip: Tool(t, "/usr/sbin/ip", "iproute2"), nft: Tool(t, "/usr/sbin/nft", "nftables"),
		Outside: fmt.Sprintf("10.77.%d.%d", i/64, i%64*4+1), Inside: fmt.Sprintf("10.77.%d.%d", i/64, i%64*4+2),
	}
	n.remove() // what a killed test left
	t.Cleanup(func() { n.remove() })
	cable := n.name + "o"
	n.must("", n.ip, "netns", "add", n.name)
	n.must("", n.ip, "link", "add", cable, "type", "veth", "peer", "name", n.name+"i", "netns", n.name)
	n.must("", n.ip, "addr", "add", n.Outside+"/30", "dev", cable)
	n.must("", n.ip, "link", "set", cable, "up")
	n.must("", n.ip, "-n", n.name, "addr", "add", n.Inside+"/30", "dev", n.name+"i")
	n.must("", n.ip, "-n", n.name, "link", "set", n.name+"i", "up")
	n.must("", n.ip, "-n", n.name, "link", "set", "lo", "up")
	return n
}

// Drop loses every packet from now on, in both directions: no reset, no refusal.
func (n *Network) Drop() {
	n.t.Helper()
	n.must("table inet rig {\n"+
		"chain in { type filter hook input priority 0; policy drop; iif lo accept; }\n"+
		"chain out { type filter hook output priority 0; policy drop; oif lo accept; }\n"+
		"}\n", n.ip, "netns", "exec", n.name, n.nft, "-f", "-")
}

// Restore ends a Drop.
func (n *Network) Restore() {
	n.t.Helper()
	n.must("", n.ip, "netns", "exec", n.name, n.nft, "delete", "table", "inet", "rig")
}

// command is the program and the first arguments that run path in the namespace.
func (n *Network) command(path string) (program string, args []string) {
	return n.ip, []string{"netns", "exec", n.name, path}
}

func (n *Network) must(stdin string, args ...string) {
	n.t.Helper()
	if err := run(stdin, args...); err != nil {
		n.t.Fatalf("rig: a network namespace, which needs root: %v", err)
	}
}

func run(stdin string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// remove takes the namespace away, and with it the cable, at once: the kernel
// itself is in no hurry.
func (n *Network) remove() {
	_ = run("", n.ip, "link", "del", n.name+"o")
	_ = run("", n.ip, "netns", "del", n.name)
}

// reserveNetwork is for networks what reserve is for ports.
func reserveNetwork(t testing.TB) int {
	t.Helper()
	for range 1000 {
		i := rand.IntN(256 * 64)
		mark, err := net.Listen("unix", fmt.Sprintf("@fluxkit-rig-network-%d", i))
		if err == nil {
			t.Cleanup(func() { mark.Close() })
			return i
		}
	}
	t.Fatalf("rig: no free network")
	return 0
}
