"""Makes terms for an index by phone number, e-mail address or VIN. None if there is no term."""

import unicodedata

import phonenumbers


def phone(text: str, country: str) -> str | None:
    """Returns a phone number as E.164, without its extension.

    country: the country of a number without a country code, such as US.
    """
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    # Do not use is_possible_number, because it accepts numbers without an area code.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def email(text: str) -> str | None:
    return unicodedata.normalize("NFC", text.strip().lower()) or None


def vin(text: str) -> str | None:
    return "".join(text.split()).upper() or None
