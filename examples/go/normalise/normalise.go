// Package normalise makes terms for an index of customers by phone number, e-mail address or VIN.
// An empty text means that there is no term.
package normalise

import (
	"strings"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/unicode/norm"
)

// Phone returns a phone number as E.164, without its extension. country is the country of a number
// without a country code, such as US.
func Phone(text, country string) string {
	number, err := phonenumbers.Parse(text, country)
	// Do not use IsPossibleNumber, because it accepts numbers without an area code.
	if err != nil || phonenumbers.IsPossibleNumberWithReason(number) != phonenumbers.IS_POSSIBLE {
		return ""
	}
	return phonenumbers.Format(number, phonenumbers.E164)
}

// Email returns an e-mail address in lower case and in NFC.
func Email(text string) string {
	return norm.NFC.String(strings.ToLower(strings.TrimSpace(text)))
}

// VIN returns a VIN in upper case, without white space.
func VIN(text string) string {
	return strings.ToUpper(strings.Join(strings.Fields(text), ""))
}
