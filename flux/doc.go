// Package flux composes the gateway and the forwarder: inputs, the judging of points, one queue a destination.
//
// A Server takes points over HTTP as Skyline's Flux does, and over carbon's line, pickle and UDP protocols; it judges
// each point once, at the door; and it hands what is accepted to its destinations, Carbon or Blueflood, which keep it,
// in memory or on disk, until the other side has confirmed it.
//
//	s, err := flux.New(flux.Config{
//		HTTP:        &flux.HTTPConfig{Listen: "127.0.0.1:8000", Keys: []flux.Key{{Secret: key}}},
//		Destination: flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{"127.0.0.1:2004"}}},
//	})
//	...
//	err = s.Run(ctx)       // until ctx ends, then stops the inputs
//	err = s.Close(drainCtx) // delivers what is pending, within the context
//
// Of several destinations the first is required, and others by choice: a point is accepted once all of these have it,
// and a full one pushes back on the inputs. Those that are not required lose points when they are full, and nobody
// waits for them.
//
// With Config.SpoolDir an answer to a request means that its points are on disk, and so does a server's end of file to
// a carbon sender that has half-closed. What is pending when a server ends, in whatever way, the next one delivers; of
// several required destinations, one may get points of the last moments before a kill a second time.
//
// Without any input configured a Server still takes points by Ingest: that is how a collector or an agent embeds it.
package flux
