// Package backfill fills Graphite with the past of a metric, as Skyline's populate_metric does: it fetches what another
// Graphite or a Prometheus knows, makes one value a minute of it, and delivers what is missing.
//
//	request, err := backfill.ParseRequest(body) // Vista's payload, or plain JSON
//	...                                         // check request.Key, and request.Under(prefix)
//	status, joined, err := manager.Submit(ctx, request)
//
// A Manager runs the jobs. What a job is asked for is settled when it is accepted, whenever it runs: relative times are
// made absolute then, and so is the point from which on history is missing: the time the request gives, else the mark
// of the metric. Where there is no mark, the local Graphite is asked once, before the first fetch.
//
// The slices of a job, one a URL, are taken in the order of their beginnings. What lies before the beginning of the
// first slice that is not there yet is complete: it is resampled and delivered in order, a chunk at a time. Once a
// chunk is confirmed the metric's mark is raised, and the job's trail, a file to which lines are appended, remembers
// how far it has come: the end of the process loses nothing of it, a loss of power at most a second, after which chunks
// are sent again. A slice that cannot be fetched makes the job wait and try again; it is never passed over. So a job
// that ends well has left out no minute, however often it was interrupted, and a job that fails has raised no mark
// beyond what is complete.
//
// A Graphite answers from the finest archive that reaches back to the beginning of what it is asked for, at the time it is
// asked. So a slice that begins where an archive ends, or that is fetched late, is fetched in two parts: what has left the
// archive, or is within three or four minutes of doing so, and the rest. Only the first part is coarse then, which
// Status.Note tells where lateness is why. Where slices overlap, the finer one counts alone. An answer that is larger than
// FetchConfig allows is asked for again in shorter parts, down to ten minutes.
//
// Only origins that are listed are contacted, without redirects and without a proxy, and the address is checked when
// it is dialled.
//
// Times are milliseconds since 1970 UTC, as everywhere in the module; the zone of the host changes nothing.
package backfill
