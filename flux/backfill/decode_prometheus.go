package backfill

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// prometheus reads {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {...},
// "values": [[seconds, "value"], ...]}, ...]}}, the members in any order.
func (d *decoder) prometheus() error {
	var status, kind, message string
	var data, results int
	err := d.members(func(member string) (err error) {
		switch member {
		case "status":
			status, err = d.once(status)
		case "error":
			message, err = d.once(message)
		case "data":
			data++
			if d.peek() == 'n' {
				_, err = d.word("null")
				return err
			}
			err = d.members(func(member string) (err error) {
				switch member {
				case "resultType":
					kind, err = d.once(kind)
				case "result":
					results++
					err = d.elements(d.prometheusSeries)
				default:
					err = d.skip(0)
				}
				return err
			})
		default:
			err = d.skip(0)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case status != "success":
		return fmt.Errorf("%w: its status is %s: %s", errMalformed, quote(status), quote(message))
	case kind != "matrix":
		return fmt.Errorf("%w: %s, not a matrix: the query is to have a range", errSeries, quote(kind))
	case data != 1 || results != 1:
		return fmt.Errorf("%w: it is to have one data with one result", errMalformed)
	}
	return nil
}

// once reads a string that must not have been there before.
func (d *decoder) once(before string) (string, error) {
	s, err := d.str()
	if err == nil && before != "" {
		err = fmt.Errorf("%w: a member stands twice", errMalformed)
	}
	return s, err
}

// prometheusSeries reads an element of result. In a vector, which has no values, there is nothing to take; what the
// whole is shows at its end.
func (d *decoder) prometheusSeries() error {
	if c := d.peek(); c != '{' { // of a scalar
		return d.skip(0)
	}
	from, seen, name := len(d.samples), 0, ""
	err := d.members(func(member string) (err error) {
		switch member {
		case "metric":
			seen++
			name, err = d.labels()
		case "values":
			seen += 10
			err = d.elements(d.prometheusPoint)
		default:
			err = d.skip(0)
		}
		return err
	})
	if err == nil && (seen%10 > 1 || seen/10 > 1) {
		err = fmt.Errorf("%w: a series has a member twice", errMalformed)
	}
	d.end(name, from)
	return err
}

// labels reads the labels of a series and writes its name as Prometheus does: name{label="value", ...}, without the
// spaces, the labels sorted.
func (d *decoder) labels() (string, error) {
	var name string
	var pairs []string
	err := d.members(func(label string) error {
		value, err := d.str()
		if label == "__name__" {
			name = value
		} else {
			pairs = append(pairs, label+"="+strconv.Quote(value))
		}
		if len(pairs) > 1000 {
			return fmt.Errorf("%w: a series with more than 1000 labels", errMalformed)
		}
		return err
	})
	if len(pairs) == 0 && name != "" {
		return name, err
	}
	slices.Sort(pairs)
	return name + "{" + strings.Join(pairs, ",") + "}", err
}

// prometheusPoint reads [seconds, "value"].
func (d *decoder) prometheusPoint() error {
	if err := d.take('['); err != nil {
		return err
	}
	ms, err := d.timestamp()
	if err != nil {
		return err
	}
	if err := d.take(','); err != nil {
		return err
	}
	text, plain, err := d.rawString()
	if err != nil {
		return err
	}
	value, err := promValue(text[1:len(text)-1], plain)
	if err != nil {
		return err
	}
	if err := d.take(']'); err != nil {
		return err
	}
	return d.add(ms, value)
}

// promValue reads a value as Prometheus writes it.
func promValue(text []byte, plain bool) (float64, error) {
	switch string(text) {
	case "NaN":
		return math.NaN(), nil
	case "+Inf", "Inf":
		return math.Inf(1), nil
	case "-Inf":
		return math.Inf(-1), nil
	}
	for _, c := range text {
		if plain = plain && (c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c|0x20 == 'e'); !plain {
			break
		}
	}
	v, err := strconv.ParseFloat(string(text), 64)
	if !plain || err != nil && !math.IsInf(v, 0) {
		return 0, fmt.Errorf("%w: %s is no value", errMalformed, quote(text))
	}
	return v, nil
}
