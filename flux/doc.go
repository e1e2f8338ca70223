// Package flux composes the gateway and the forwarder: inputs, the judging of points, one queue a destination.
//
// A Server takes points over HTTP as Skyline's Flux does, and over carbon's line, pickle and UDP protocols; it judges
// each point once, at the door; and it hands what is accepted to its destination, Carbon or Blueflood, which keeps it
// until the other side has confirmed it.
//
//	s, err := flux.New(flux.Config{
//		HTTP:        &flux.HTTPConfig{Listen: "127.0.0.1:8000", Keys: []flux.Key{{Secret: key}}},
//		Destination: flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{"127.0.0.1:2004"}}},
//	})
//	...
//	err = s.Run(ctx)       // until ctx ends, then stops the inputs
//	err = s.Close(drainCtx) // delivers what is pending, within the context
//
// Without any input configured a Server still takes points by Ingest: that is how a collector or an agent embeds it.
package flux
