package flux

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
)

// keyTable finds a key without comparing secrets byte for byte: what is looked up and compared are digests salted
// with random bytes of this process, so that neither the table nor the time of a look-up tells about a key.
type keyTable struct {
	salt [32]byte
	list []*keyEntry
}

type keyEntry struct {
	digest [32]byte
	prefix string
}

func newKeyTable(keys []Key) *keyTable {
	t := &keyTable{}
	rand.Read(t.salt[:])
	for _, k := range keys {
		t.list = append(t.list, &keyEntry{digest: t.digest([]byte(k.Secret)), prefix: k.Prefix})
	}
	return t
}

func (t *keyTable) digest(secret []byte) [32]byte {
	var buf [32 + 128]byte
	n := copy(buf[:], t.salt[:])
	n += copy(buf[n:], secret)
	return sha256.Sum256(buf[:n])
}

// find returns the prefix of a key and whether the key is known. A key longer than a key can be is not.
func (t *keyTable) find(secret []byte) (prefix string, ok bool) {
	if len(secret) > 128 {
		return "", false
	}
	d := t.digest(secret)
	for _, e := range t.list {
		if subtle.ConstantTimeCompare(d[:], e.digest[:]) == 1 {
			prefix, ok = e.prefix, true
		}
	}
	return prefix, ok
}
