package contract

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// object is a JSON object whose members keep their text, so that no digit is lost. Names are
// case-sensitive, unlike those of a Go struct.
type object map[string]json.RawMessage

func parseObject(text []byte) (object, bool) {
	var members object
	err := json.Unmarshal(text, &members)
	return members, err == nil && members != nil
}

func isNull(value json.RawMessage) bool {
	return value == nil || string(value) == "null"
}

// stringOf returns the text of a JSON string. The second result is false if the value is not a
// string.
func stringOf(value json.RawMessage) (string, bool) {
	if len(value) == 0 || value[0] != '"' {
		return "", false
	}
	var text string
	err := json.Unmarshal(value, &text)
	return text, err == nil
}

func isNumber(value json.RawMessage) bool {
	return len(value) > 0 && strings.ContainsRune("-0123456789", rune(value[0]))
}

// isWellFormed returns false if a JSON string has half of a surrogate pair. encoding/json would
// replace the half silently, so two different ids would become equal.
func isWellFormed(value json.RawMessage) bool {
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' {
			continue
		}
		unit, isUnit := unitAt(value, i)
		if !isUnit {
			i++ // skip the character after the backslash, because it does not begin another escape
			continue
		}
		if unit >= 0xdc00 && unit <= 0xdfff {
			return false
		}
		i += 5
		if unit >= 0xd800 && unit <= 0xdbff {
			low, isUnit := unitAt(value, i+1)
			if !isUnit || low < 0xdc00 || low > 0xdfff {
				return false
			}
			i += 6
		}
	}
	return true
}

// unitAt reads an escape \uXXXX.
func unitAt(value []byte, at int) (uint64, bool) {
	if at+6 > len(value) || value[at] != '\\' || value[at+1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(value[at+2:at+6]), 16, 16)
	return unit, err == nil
}

// members calls a function for each member of a JSON object, in order.
func members(text json.RawMessage, each func(name string, value json.RawMessage)) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return
		}
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return
		}
		each(name.(string), value)
	}
}
