package ingest

// usual reads an object that is laid out as nearly every client does it: the members metric, timestamp, value and
// perhaps fill, each at most once and in any order, text without escapes, plain numbers. It fills r, which must be
// zero, exactly as item would, only faster, notes in l where the values stand, and returns where the object ends. For
// any other layout, right or wrong, it returns 0 and leaves r and l undefined.
func usual(b []byte, i int, r *raw, l *layout) int {
	if at(b, i) != '{' {
		return 0
	}
	l.n, l.fill = 0, false
	for {
		i = past(b, i+1)
		if len(b)-i < len(`"value":1}`) {
			return 0
		}
		what := b[i+1]
		switch what {
		case 'm':
			if string(b[i:i+8]) != `"metric"` {
				return 0
			}
			i += 8
		case 't':
			if len(b)-i < 11 || string(b[i:i+11]) != `"timestamp"` {
				return 0
			}
			i += 11
		case 'v':
			if string(b[i:i+7]) != `"value"` {
				return 0
			}
			i += 7
		case 'f':
			if string(b[i:i+6]) != `"fill"` {
				return 0
			}
			i += 6
		}
		if i = usualValue(b, colon(b, i), what, r, l); i == 0 {
			return 0
		}
		i = past(b, i)
		switch at(b, i) {
		case ',':
		case '}':
			r.whole = object
			return i + 1
		default:
			return 0
		}
	}
}

// at is the byte at i, or 0 at the end.
func at(b []byte, i int) byte {
	if uint(i) < uint(len(b)) {
		return b[i]
	}
	return 0
}

// past passes over whitespace.
func past(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && 1<<b[i]&(1<<' '|1<<'\n'|1<<'\t'|1<<'\r') != uint64(0) {
		i++
	}
	return i
}

// colon passes over a colon and the whitespace around it. Without a colon it returns the end of b, where no value is.
func colon(b []byte, i int) int {
	i = past(b, i)
	if at(b, i) != ':' {
		return len(b)
	}
	return past(b, i+1)
}

// usualValue reads the value of the member that begins with what, notes where it is, and returns where it ends, or 0.
func usualValue(b []byte, i int, what byte, r *raw, l *layout) int {
	if l.has(what) {
		return 0
	}
	k := number
	if at(b, i) == '"' {
		k = text
		i++
	}
	end := 0
	switch what {
	case 'm':
		end = usualName(b, i, k, r)
	case 't':
		end = usualTime(b, i, k, r)
	case 'v':
		end = usualNumber(b, i, k, r)
	case 'f':
		end = usualFill(b, i, k)
		r.fill = true
	}
	if end == 0 {
		return 0
	}
	l.note(what, k, i, end)
	if k == text {
		if at(b, end) != '"' {
			return 0
		}
		end++
	}
	return end
}

func usualName(b []byte, i int, k kind, r *raw) (end int) {
	if k != text {
		return 0
	}
	n := cleanName(b[i:])
	r.clean = n > 0 && n <= maxLast
	if end = i + n; n == 0 {
		for ; end < len(b) && b[end] != '"'; end++ {
			if c := b[end]; c < ' ' || c > '~' || c == '\\' {
				return 0
			}
		}
	}
	r.name = token{b[i:end:end], text}
	return end
}

func usualTime(b []byte, i int, k kind, r *raw) (end int) {
	start, s := i, int64(0)
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		s = s*10 + int64(b[i]-'0')
	}
	n := i - start
	if n == 0 || n > 1 && b[start] == '0' {
		return 0
	}
	if r.seconds, r.timeRead, r.timeText = s, n == 10, k == text; !r.timeRead {
		r.time = token{b[start:i:i], k}
	}
	return i
}

func usualNumber(b []byte, i int, k kind, r *raw) (end int) {
	f, end, read := decimal(b, i)
	if r.number, r.valueRead = f, read; !read && end > 0 {
		r.value = token{b[i:end:end], k}
	}
	return end
}

func usualFill(b []byte, i int, k kind) (end int) {
	if len(b)-i < 4 || string(b[i:i+4]) != "true" && (k != text || string(b[i:i+4]) != "True") {
		return 0
	}
	return i + 4
}
