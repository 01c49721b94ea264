// Package contract reads the records of customer-stream, and compares versions. The conformance
// vectors check this package.
package contract

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"regexp"
	"strconv"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	maxTimestamp = 1<<53 - 1
	maxFutureMs  = 24 * 60 * 60 * 1000
)

// Version decides which of two events is newer. Equal versions are the same event.
type Version struct {
	Timestamp int64  `json:"timestamp"` // Unix milliseconds
	ID        string `json:"id"`
}

// Compare returns a negative number if v is older than other. Go compares strings by their UTF-8
// bytes, as the version rule demands.
func (v Version) Compare(other Version) int {
	return cmp.Or(cmp.Compare(v.Timestamp, other.Timestamp), cmp.Compare(v.ID, other.ID))
}

// ErrUnusable has the stable name of the reason why a record cannot be used.
type ErrUnusable string

func (reason ErrUnusable) Error() string { return string(reason) }

// Event is a customers event of the raw topic: a complete snapshot of one customer. All fields of
// JSON are as delivered.
type Event struct {
	Version              Version
	CustomerUUID         string
	DealerUUID           []byte
	DepartmentUUID       []byte
	CustomerWithVehicles []byte
}

// State is the current state of one customer, from the state topic. Document is its JSON.
type State struct {
	Version      Version
	CustomerUUID string
	Document     []byte
}

var (
	charset = regexp.MustCompile(`(?i);\s*charset\s*=\s*(?:"([^"]*)"|([^\s;"]+))`)
	digits  = regexp.MustCompile(`^[0-9]+$`)
	bom     = []byte("\ufeff")
)

// ReadEvent reads the value of a raw record. contentType is the record's header of this name, if it
// has one. receivedAt is the record's timestamp in Unix milliseconds. The error is an ErrUnusable
// with the reason for which the projector would quarantine the record.
func ReadEvent(value []byte, contentType string, receivedAt int64) (Event, error) {
	text, err := decode(value, contentType)
	if err != nil {
		return Event{}, err
	}
	envelope, err := parse(text, "not-json", "not-an-object")
	if err != nil {
		return Event{}, err
	}
	kind, _ := stringOf(envelope["type"])
	if kind == "" {
		kind, _ = stringOf(envelope["dataType"])
	}
	if kind == "" {
		return Event{}, ErrUnusable("missing-type")
	}
	if kind != "customers" {
		return Event{}, ErrUnusable("not-a-customers-event")
	}
	customerWithVehicles, uuid, err := customerOf(envelope["payload"])
	if err != nil {
		return Event{}, err
	}
	version, err := versionOf(envelope["id"], envelope["timestamp"])
	if err != nil {
		return Event{}, err
	}
	if version.Timestamp-receivedAt > maxFutureMs {
		return Event{}, ErrUnusable("too-far-in-future")
	}
	return Event{version, uuid, envelope["dealeruuid"], envelope["departmentuuid"], customerWithVehicles}, nil
}

// customerOf reads a payload: JSON in a string, or an object.
func customerOf(payload []byte) (customerWithVehicles []byte, uuid string, err error) {
	if text, isString := stringOf(payload); isString {
		payload = []byte(text)
	} else if payload == nil {
		payload = []byte("null")
	}
	parsed, err := parse(payload, "payload-not-json", "payload-not-an-object")
	if err != nil {
		return nil, "", err
	}
	customerWithVehicles = parsed["customerWithVehicles"]
	around, _ := parseObject(customerWithVehicles)
	customer, isObject := parseObject(around["customer"])
	if !isObject {
		return nil, "", ErrUnusable("missing-customer")
	}
	if uuid, _ = stringOf(customer["customerUuid"]); uuid == "" {
		return nil, "", ErrUnusable("missing-customer-uuid")
	}
	if !isWellFormed(customer["customerUuid"]) {
		return nil, "", ErrUnusable("invalid-customer-uuid")
	}
	return customerWithVehicles, uuid, nil
}

// ReadState reads the value of a record of the state topic. A tombstone has no value and must not
// be given to this function. An error means that another program wrote the value.
func ReadState(value []byte) (State, error) {
	wrong := ErrUnusable("not-a-state-document")
	text, err := decode(value, "")
	if err != nil {
		return State{}, err
	}
	document, err := parse(text, "not-json", string(wrong))
	if err != nil {
		return State{}, err
	}
	version, _ := parseObject(document["version"])
	customer, _ := parseObject(document["customer"])
	source, _ := parseObject(document["source"])
	uuid, _ := stringOf(document["customerUuid"])
	own, _ := stringOf(customer["customerUuid"])
	_, hasTopic := stringOf(source["topic"])
	_, otherIsObject := parseObject(document["other"])
	_, hasOther := document["other"]
	offset, _ := stringOf(source["offset"])
	isDocument := uuid != "" && own == uuid && hasTopic && isCount(source["partition"]) &&
		isCount(document["receivedAt"]) && digits.MatchString(offset) && isNumber(version["timestamp"]) &&
		(!hasOther || otherIsObject)
	if !isDocument {
		return State{}, wrong
	}
	read, err := versionOf(version["id"], version["timestamp"])
	if err != nil {
		return State{}, wrong
	}
	return State{read, uuid, text}, nil
}

func parse(text []byte, notJSON, notAnObject string) (object, error) {
	parsed, isObject := parseObject(text)
	switch {
	case isObject:
		return parsed, nil
	case valid(text):
		return nil, ErrUnusable(notAnObject)
	}
	return nil, ErrUnusable(notJSON)
}

// decode refuses broken bytes. encoding/json would replace them silently.
func decode(value []byte, contentType string) ([]byte, error) {
	var from encoding.Encoding
	if found := charset.FindStringSubmatch(contentType); found != nil {
		from, _ = htmlindex.Get(found[1] + found[2])
	}
	name := ""
	if from != nil {
		name, _ = htmlindex.Name(from)
	}
	if from == nil || name == "utf-8" {
		if !utf8.Valid(value) {
			return nil, ErrUnusable("not-utf8")
		}
		return bytes.TrimPrefix(value, bom), nil
	}
	// A byte order mark overrides the declared byte order.
	text, _, err := transform.Bytes(unicode.BOMOverride(from.NewDecoder()), value)
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
		return nil, ErrUnusable("not-utf8")
	}
	return bytes.TrimPrefix(text, bom), nil
}

// numberOf reads a number as a double, like the projector, so 1728542293678.0 is an integer.
func numberOf(text string) (float64, bool) {
	number, err := strconv.ParseFloat(text, 64)
	isInRange := err == nil || errors.Is(err, strconv.ErrRange)
	return number, isInRange && number == math.Trunc(number) && math.Abs(number) <= maxTimestamp
}

func isCount(value []byte) bool {
	number, isInteger := numberOf(string(value))
	return isNumber(value) && isInteger && number >= 0
}

func versionOf(id, timestamp []byte) (Version, error) {
	text, isString := stringOf(id)
	if isNull(id) || (isString && text == "") {
		return Version{}, ErrUnusable("missing-event-id")
	}
	if !isString || !isWellFormed(id) {
		return Version{}, ErrUnusable("invalid-event-id")
	}
	written, isString := stringOf(timestamp)
	if !isString && isNumber(timestamp) {
		written = string(timestamp)
	} else if !digits.MatchString(written) {
		return Version{}, ErrUnusable("invalid-timestamp")
	}
	number, isInteger := numberOf(written)
	if !isInteger || number < 1 {
		return Version{}, ErrUnusable("invalid-timestamp")
	}
	return Version{int64(number), text}, nil
}
