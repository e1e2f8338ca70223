// Package ingest reads what HTTP clients of Flux send: the query of GET /metric_data, the JSON body of POST
// /metric_data_post, be it Flux's own or telegraf's, and carbon's lines. It decodes, parses and validates; it knows
// nothing of servers, keys or queues.
//
// The two steps are apart, so that the caller can authenticate between them:
//
//	req, err := parser.JSON(body)              // is it a request at all? What key does it carry?
//	...                                        // check req.Key: it decides the prefix
//	err = parser.Validate(rules, prefix)       // all points, or none
//	use(req.Items)
//
// Parser.Query reads a query, Parser.Telegraf the body of a request with the header telegraf, Parser.Lines one of lines;
// the rest is the same. Telegraf's points and lines are judged one by one: a bad one is left out of Items and told in
// Rejected, so that a client which sends it again and again does not hold up the others. Request.Report makes an answer
// of it. Decoders undo a Content-Encoding before all that.
//
// # What is accepted
//
// A request that Skyline's Flux answers with 204 is accepted, save where Flux loses data or lets someone in:
//
//   - A metrics array is taken whole or not at all. Telegraf's is not: see above.
//   - A name is a JSON string. Numbers, booleans and null are refused. So are a leading or trailing dot or slash, and
//     a slash-separated element of dots alone.
//   - A GET is held to the same rules of names as a POST, and a fill on a single point counts.
//   - A value is a finite number. NaN, infinite values, booleans and null are refused.
//   - An empty timestamp is refused; it does not stand for now.
//   - A member that stands twice in one JSON object, and a parameter that stands twice in a query, are refused.
//   - The prefix of a key confines every name, on the boundary of an element.
//
// # Names
//
// A name holds A-Z a-z 0-9 + - % . _ / = and :, and may have tags, ";key=value", by carbon's rules. Before it is
// checked, a space, an asterisk and an apostrophe each become an underscore and a run of dots becomes one dot, in GET
// and POST alike, so that a metric has one name whichever way it comes. An element between dots or slashes may have
// 255 bytes and the last one 251, since ".wsp" is added to it; a name with tags is stored under a hash, so only its
// whole length counts. The whole name may have 4062 bytes. The name of an Item is carbon's canonical one: tags sorted,
// the last of a repeated tag kept.
//
// Telegraf's names are made of a template, host.tags.measurement.field; see Parser.Telegraf.
//
// # Judging
//
// Of a point the name is looked at first, then the timestamp, then the value, and the first thing that is wrong is told:
// which item or line it is, which member, what stands there and which rule it breaks. The points of a request are handed
// on in order of time, so that an older one that comes with a newer one is not late.
//
// # Numbers
//
// Timestamps are whole Unix seconds and values are float64s, as JSON numbers or as text that Python's int and float
// read: surrounding whitespace, a sign, single underscores between digits; for values a fraction and an exponent. Only
// ASCII digits count. JSON itself is read strictly, by RFC 8259, in UTF-8.
package ingest
