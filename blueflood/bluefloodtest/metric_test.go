package bluefloodtest

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzEachField compares the fields of a valid object with what encoding/json finds.
func FuzzEachField(f *testing.F) {
	for _, s := range []string{
		`{}`, `{ }`, `{"a":1}`, `{"a" : [1,{"b":"]}"}] , "b\u0061":"\"" ,"c":null}`, "{\"a\":{},\"b\":[],\"c\":-1e5\t}",
		`{"":"","a\\":{"x":"\\\""}}`, `{"a":1,"a":2}`, `[1]`, `1`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var raw json.RawMessage
		if json.Unmarshal(data, &raw) != nil {
			return
		}
		want := map[string]json.RawMessage{}
		isObject := raw[0] == '{' && json.Unmarshal(raw, &want) == nil
		got := map[string]json.RawMessage{}
		err := eachField(raw, func(key string, v json.RawMessage) error {
			var s string // as encoding/json has it, bad UTF-8 replaced
			quoted, _ := json.Marshal(key)
			_ = json.Unmarshal(quoted, &s)
			got[s] = v
			return nil
		})
		require.Equal(t, isObject, err == nil)
		if isObject {
			require.Equal(t, want, got)
		}
	})
}
