package ingest

// usual reads an object that is laid out as nearly every client does it: the members metric, timestamp, value and
// perhaps fill, each at most once and in any order, text without escapes, plain numbers. It fills r, which must be
// zero, exactly as item would, only faster, and returns where the object ends. For any other layout, right or wrong, it
// returns 0 and leaves r undefined.
func usual(b []byte, i int, r *raw) int {
	if at(b, i) != '{' {
		return 0
	}
	for {
		i = past(b, i+1)
		if len(b)-i < len(`"value":1}`) {
			return 0
		}
		var end int
		switch b[i+1] {
		case 'm':
			if string(b[i:i+8]) != `"metric"` || r.name.kind != absent {
				return 0
			}
			end = usualName(b, colon(b, i+8), r)
		case 't':
			if len(b)-i < 11 || string(b[i:i+11]) != `"timestamp"` || r.time.kind != absent {
				return 0
			}
			end = usualTime(b, colon(b, i+11), r)
		case 'v':
			if string(b[i:i+7]) != `"value"` || r.value.kind != absent {
				return 0
			}
			end = usualValue(b, colon(b, i+7), r)
		case 'f':
			if string(b[i:i+6]) != `"fill"` || r.fill {
				return 0
			}
			end = usualFill(b, colon(b, i+6), r)
		}
		if end == 0 {
			return 0
		}
		i = past(b, end)
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

func usualName(b []byte, i int, r *raw) int {
	if at(b, i) != '"' {
		return 0
	}
	i++
	end := cleanName(b, i)
	r.clean = end > 0
	if end == 0 {
		for end = i; end < len(b) && b[end] != '"'; end++ {
			if c := b[end]; c < ' ' || c > '~' || c == '\\' {
				return 0
			}
		}
		if end == len(b) {
			return 0
		}
	}
	r.name = token{b[i:end:end], text}
	return end + 1
}

func usualTime(b []byte, i int, r *raw) int {
	k, i := quoted(b, i)
	start, s := i, int64(0)
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		s = s*10 + int64(b[i]-'0')
	}
	n := i - start
	if n == 0 || n > 1 && b[start] == '0' {
		return 0
	}
	r.time = token{b[start:i:i], k}
	r.seconds, r.timeRead = s, n == 10
	return closed(b, i, k)
}

func usualValue(b []byte, i int, r *raw) int {
	k, i := quoted(b, i)
	start := i
	f, i, read := decimal(b, i)
	if i == 0 {
		return 0
	}
	r.value = token{b[start:i:i], k}
	r.number, r.valueRead = f, read
	return closed(b, i, k)
}

func usualFill(b []byte, i int, r *raw) int {
	k, i := quoted(b, i)
	if len(b)-i < 4 || string(b[i:i+4]) != "true" && (k != text || string(b[i:i+4]) != "True") {
		return 0
	}
	r.fill = true
	return closed(b, i+4, k)
}

// quoted passes over the quote before a value, if there is one, and says whether the value is text or a number.
func quoted(b []byte, i int) (kind, int) {
	if at(b, i) == '"' {
		return text, i + 1
	}
	return number, i
}

// closed passes over the quote after a value that is text; 0 means that it is not there.
func closed(b []byte, i int, k kind) int {
	if k != text {
		return i
	}
	if at(b, i) != '"' {
		return 0
	}
	return i + 1
}

// exact are the powers of ten that matter here; a float64 holds each exactly. A whole number of at most 2^53 divided
// by one of them is rounded once, so the quotient is the float64 nearest to the decimal.
var exact = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
}

// decimal passes over a JSON number. next is its end, or 0 if there is none. read tells that f is its value, which
// needs a number without an exponent and with few enough digits.
func decimal(b []byte, i int) (f float64, next int, read bool) {
	negative := at(b, i) == '-'
	if negative {
		i++
	}
	m, start := uint64(0), i
	for ; i < len(b) && b[i]-'0' <= 9; i++ {
		m = m*10 + uint64(b[i]-'0')
	}
	n, fraction := i-start, 0
	if n == 0 || n > 1 && b[start] == '0' {
		return 0, 0, false
	}
	if at(b, i) == '.' {
		i++
		start = i
		for ; i < len(b) && b[i]-'0' <= 9; i++ {
			m = m*10 + uint64(b[i]-'0')
		}
		if fraction = i - start; fraction == 0 {
			return 0, 0, false
		}
	}
	if at(b, i)|0x20 == 'e' {
		i++
		if c := at(b, i); c == '-' || c == '+' {
			i++
		}
		rest := pastDigits(b[i:])
		if len(rest) == len(b)-i {
			return 0, 0, false
		}
		return 0, len(b) - len(rest), false
	}
	if n+fraction > 18 || m > 1<<53 {
		return 0, i, false
	}
	f = float64(m) / exact[fraction]
	if negative {
		f = -f
	}
	return f, i, true
}
