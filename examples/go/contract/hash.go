package contract

import (
	"encoding/json"
	"strconv"
	"strings"
)

func valid(text []byte) bool { return json.Valid(text) }

// HashOf returns the hash that a state document becomes in Redis (docs/contracts.md).
func HashOf(state State, appliedAt int64, projection int) map[string]string {
	document, _ := parseObject(state.Document)
	source, _ := parseObject(document["source"])
	topic, _ := stringOf(source["topic"])
	fields := map[string]string{}
	add := func(source string, each func(func(string, json.RawMessage))) {
		takenBefore := map[string]bool{}
		for field := range fields {
			takenBefore[field] = true
		}
		each(func(name string, value json.RawMessage) {
			if isNull(value) {
				return
			}
			field := name
			if strings.HasPrefix(name, "_") {
				field = "_" + name
			}
			isOfTheEnvelope := field == "dealerUuid" || field == "departmentUuid"
			if takenBefore[field] || (source != "envelope" && isOfTheEnvelope) {
				field = "_" + source + "." + name
			}
			text, isString := stringOf(value)
			if !isString {
				text = string(value)
			}
			fields[field] = text
		})
	}
	pick := func(names ...string) func(func(string, json.RawMessage)) {
		return func(each func(string, json.RawMessage)) {
			for _, name := range names {
				each(name, document[name])
			}
		}
	}
	all := func(name string) func(func(string, json.RawMessage)) {
		return func(each func(string, json.RawMessage)) { members(document[name], each) }
	}
	add("envelope", pick("dealerUuid", "departmentUuid"))
	add("customerWithVehicles", pick("vehicles", "addresses"))
	add("customer", all("customer"))
	add("customerWithVehicles", all("other"))
	fields["_eventId"] = state.Version.ID
	fields["_eventTimestamp"] = strconv.FormatInt(state.Version.Timestamp, 10)
	fields["_receivedAt"] = string(document["receivedAt"])
	fields["_appliedAt"] = strconv.FormatInt(appliedAt, 10)
	fields["_source"] = topic + "/" + string(source["partition"]) + "/" + strings.Trim(string(source["offset"]), `"`)
	fields["_projection"] = strconv.Itoa(projection)
	return fields
}
