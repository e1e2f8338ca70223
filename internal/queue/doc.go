// Package queue keeps opaque records in order until they are acknowledged. It is what stands between an input and a
// destination: bounded in bytes, strictly first in first out, with a read cursor that its reader owns and an
// acknowledgement that is separate from reading. It is kept in memory or, with Options.Dir, in a directory.
//
// # What a directory promises
//
// A record is kept once Append has returned, or Sync for its position. What is kept is not lost by the end of the
// process or of the power, however and whenever that comes, until it is acknowledged or, with DropOldest, dropped and
// counted. Records come back whole and in the order of their positions.
//
// A record whose Append returned an error is not delivered. Only when the process ends before its file could be cut back
// to what was kept, and the medium took the record all the same, does it come back with the next Open; so may a record
// whose Append had not returned when the process ended.
//
// Acknowledged records may come back after the process was killed (those of the last moments) or after power loss, a
// full disk or damage to the file that says what is acknowledged: from the beginning of the oldest segment that is
// left, 16 MiB or a sixteenth of the bound. So may records that were dropped last.
//
// Damage costs the records that it touches and no other, is counted, and never keeps the queue from opening.
//
// # The account
//
// Each point that Open found or that was appended since is, at any moment, in one of four places: acknowledged, pending
// (Stats.Points), Dropped or Lost. What the reader was given cannot be dropped before it acknowledges it or goes back over
// it, so nothing is both. What was pending and turns out to be damaged is Lost once the reader has come to the end of what
// is committed of that segment; until then it counts as pending.
//
// # What is assumed
//
// A successful fdatasync of a file makes its bytes and size lasting, a successful fsync of a directory the names in it.
// What was not synced may be there after power loss, wholly, partly, as zeros or as older contents of the disk, in any
// order. A failed sync says nothing about what it should have covered, and another sync of the same file means nothing
// either; what earlier syncs of the file covered stands. The file system honours
// flock, which excludes most that reach over a network. A read error that comes three times in a row is damage.
//
// # Files
//
// All numbers in files are little-endian. A directory holds
//
//	lock                     empty; flock keeps other processes out
//	ORDINAL-FIRST-NONCE.seg  segments of the log, three numbers of 16 hexadecimal digits
//	acked                    what is acknowledged
//
// and other names are left alone. ORDINAL rises from one segment to the next and gives their order. FIRST is the lowest
// position that the segment may hold. NONCE is 64 random bits. A segment is records, one directly behind the other:
//
//	 0  8  NONCE
//	 8  8  position; rises within a segment and from one to the next, mostly by one
//	16  8  time of Append in nanoseconds since 1970, UTC
//	24  4  points
//	28  4  length of the payload
//	32  4  CRC-32C of bytes 0 to 31 and the payload
//	36  4  CRC-32C of bytes 0 to 35
//	40     payload
//
// There is no other header, index or footer, so that nothing but a record can be damaged: all offsets are found by
// reading. Where no valid record stands, the reader looks for the next place from which on there is one: NONCE, a valid
// second checksum, a position above the last, and a length that fits. A payload cannot pretend to hold a record, since
// who makes it cannot know NONCE, and the contents of an older file cannot either. Such a stretch at the end of a file,
// when it does not begin with a valid header of full length, is the normal trace of a write that was cut short. All
// others count as damage.
//
// acked is 36 bytes, written over in place:
//
//	 0  8  "fluxack1"
//	 8  8  ORDINAL of a segment
//	16  8  NONCE of that segment
//	24  8  position
//	32  4  CRC-32C of bytes 0 to 31
//
// It says that of this segment what stands up to the position is acknowledged, and all of the segments before. When it
// is damaged, or no such segment stands, it says nothing: the oldest segment there is begins with what must be delivered
// next. So it can never hide a record that was appended later. It is not synced: to write it costs neither space nor time.
//
// # Writing
//
// One goroutine writes. It takes all records that wait, fills in their headers, writes as many as fit in the segment, but
// no more than 4 MiB or twice CommitBytes at once, syncs, and only then lets their Appends return and readers see them;
// meanwhile others gather. Of the records of AppendAsync, which has returned by then, CommitBytes are uncommitted at most:
// a commit of them begins at half of that, and while it is being written the other half may gather.
//
// A segment takes records up to a sixteenth of the bound, 16 MiB at most, or one that is larger; the next one's name is
// synced before anything is written to it. Open never appends to a file that is there, but syncs the newest, so that
// what a killed process left to the page cache lasts as well.
//
// When a write or a sync fails, the segment is cut back to what was synced, as far as that works, and never written to
// again. What was not yet synced is written to a new segment, first after 100 ms, then after up to 2 s, and at once
// when a removed segment may have made room, until it works: each time half as many at once, so that what little space
// there is is used. FIRST of the new segment outdoes what the old one may still hold from there on. An empty new
// segment outdoes nothing. Meanwhile nothing is admitted, and those who wait take their records back when their context
// ends.
//
// A segment is removed when all its records are acknowledged. That needs no free space, and it is done before anything
// more is written, so that segments never take more than the bound. A newest segment of which all is acknowledged goes
// on being used until it is full or somebody waits for its room.
//
// # Reading
//
// Readers see what is committed. They read the files in pieces of 256 KiB, or of one record if that is larger. Where the
// records end that were read and are not acknowledged is remembered, so that Ack reads nothing: 56 bytes for each of the
// first 32,768; what is beyond them, or was never read, Ack looks up in the files. Besides that and what waits to be
// committed (4 MiB, with DropOldest 8 MiB, or twice CommitBytes, reservations included), a queue keeps some hundred bytes
// a segment in memory.
package queue
