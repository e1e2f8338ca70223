package graphite

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProves(t *testing.T) {
	whole := kernelState{known: true, acked: 1 + 1000 + 1}
	require.True(t, whole.proves(1, 1000))
	for name, change := range map[string]func(k *kernelState){
		"our FIN is not acknowledged":           func(k *kernelState) { k.acked-- },
		"a reset emptied the send queue":        func(k *kernelState) { k.acked -= 500 },
		"bytes are under way":                   func(k *kernelState) { k.pending = true },
		"both ends closed at once":              func(k *kernelState) { k.closing = true },
		"a reset followed the FIN":              func(k *kernelState) { k.err = syscall.ECONNRESET },
		"bytes were sent after the half-close":  func(k *kernelState) { k.acked++ },
		"the kernel of the peer has not even 1": func(k *kernelState) { k.acked = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			k := whole
			change(&k)
			require.False(t, k.proves(1, 1000))
		})
	}
}

func TestAckWatch(t *testing.T) {
	type look struct {
		at       time.Duration
		due      bool
		sinceAck time.Duration
		want     bool
	}
	const s = time.Second
	for name, looks := range map[string][]look{
		"idle":                   {{0, false, 0, false}, {500 * s, false, 500 * s, false}},
		"silence":                {{0, true, 0, false}, {60 * s, true, 60 * s, false}, {61 * s, true, 61 * s, true}},
		"silence after idleness": {{0, true, 1000 * s, false}, {60 * s, true, 1060 * s, false}, {61 * s, true, 1061 * s, true}},
		"acknowledgements come":  {{0, true, 0, false}, {50 * s, true, 0, false}, {100 * s, true, 50 * s, false}, {111 * s, true, 61 * s, true}},
		"probes of a closed window are answered, 120 s apart": {
			{0, true, 0, false}, {1 * s, false, 1 * s, false}, {120 * s, true, 120 * s, false},
			{121 * s, false, 1 * s, false}, {241 * s, true, 121 * s, false}, {242 * s, false, 1 * s, false},
		},
		"a probe stays unanswered": {{0, false, 0, false}, {120 * s, true, 120 * s, false}, {181 * s, true, 181 * s, true}},
	} {
		t.Run(name, func(t *testing.T) {
			w, start := ackWatch{limit: 60 * s}, time.Unix(1700000000, 0)
			for _, l := range looks {
				require.Equal(t, l.want, w.stalled(start.Add(l.at), kernelState{known: true, due: l.due, sinceAck: l.sinceAck}), "at %v", l.at)
			}
		})
	}
	w := ackWatch{limit: 1}
	require.False(t, w.stalled(time.Unix(1, 0), kernelState{due: true}))
	require.False(t, w.stalled(time.Unix(9, 0), kernelState{due: true}), "what is not known breaks nothing")
}
