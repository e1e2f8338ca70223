// Package blueflood sends metrics to a Blueflood server and reads them back.
//
// An Endpoint writes to one tenant of one server. Ingest makes one request and says of each point what became of it.
// Send keeps points in a bounded buffer instead, from which the endpoint delivers them in the background: it fills
// requests up to the server's byte limit, sends one at a time, and keeps what was not taken until the server takes it
// or refuses it for good. Delivered and Failed report the end of every point; each gets exactly one of the two.
//
// What the server's answers mean:
//
//	200, 201, 204       stored
//	202                 the server's store did not answer in time: sent again, given up as "unconfirmed" at the fifth
//	207, 400 with list  each listed point is given up with the reason, the others are stored (207) or sent again (400)
//	400, 413, 417       refused whole: halved until the culprit stands alone, and the culprit given up
//	401, 403            credentials renewed once, then held and sent again later
//	3xx, 404, 405, 415  a wrong address or proxy: held, sent again later
//	408, 429, 5xx       sent again later, after Retry-After when the server names it
//	none                sent again later
//
// Writing a point twice is harmless: Blueflood keeps one value for a metric and a millisecond, and the last one wins.
//
// Credentials are an Authenticator's: Keystone gets tokens for an API key or a password and renews them, HeaderAuth sends
// fixed headers, among them those of BasicAuth and BearerAuth. What has no credentials is not sent; it stays in the
// buffer.
//
// A Query reads views of metrics by number of points or by resolution, and searches metric names.
package blueflood
