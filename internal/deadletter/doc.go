// Package deadletter keeps points that were given up, with the reason, in a file that an operator can read, filter and
// have delivered again.
//
// # Format
//
// A file is JSON objects, one a line, oldest first:
//
//	{"at":"2026-05-04T12:00:00.25Z","destination":"blueflood","tenant":"acme","reason":"too_old",
//	 "detail":"400 Out of bounds","metric":"servers.web.cpu","timestamp":1777800000000,"value":0.5,"ttl":"24h0m0s",
//	 "unit":"percent","tag":1}
//
// (broken here to fit). So jq and grep work on it:
//
//	jq -r 'select(.reason == "too_old") | .metric' FILE | sort | uniq -c
//
// The fields are
//
//	at             when the point was given up, RFC 3339, UTC
//	destination    which one gave it up
//	tenant         of the destination; left out where there is none
//	reason         a short fixed label
//	detail         more of it, for people; at most 500 bytes, left out when empty
//	metric         the name, when that is UTF-8
//	metric_base64  the name's bytes, when they are not UTF-8
//	timestamp      the point's, Unix milliseconds
//	value          a number, or one of the strings "NaN", "Infinity" and "-Infinity"
//	ttl            a duration as Go writes it, such as 24h0m0s; left out when the point has none of its own
//	unit           left out when empty
//	unit_base64    in place of unit, when that is not UTF-8
//	tag            a number of the sender's, 0 to 255; left out when 0
//
// A reader ignores other fields. It passes over lines that it cannot read, and counts them.
//
// # Files
//
//	PATH            is appended to
//	PATH.old        is the older half
//	PATH.replay.N   were set aside for delivery, oldest first: left here by a replay that was killed
//	PATH.replay     is a lock, there while a replay runs
//	PATH.damaged.N  held lines that a replay could not read; kept for people, not read again
//
// Before PATH would grow beyond half the bound it is renamed to PATH.old, in place of the former, whose points are lost
// and counted. Whoever writes to PATH, renames or replaces it holds its flock, and once that is taken looks whether the
// name still stands for the same file: so several processes can append while another sets the files aside.
//
// An Append writes its lines with one write and one fdatasync. What a crash or a full disk left of a line at the end of
// the file is cut off before the next line is written; a whole line that lacks its end is given one.
package deadletter
