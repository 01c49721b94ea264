"""The contract of customer-stream in Python: reads records, and compares versions.

The conformance vectors check this file (`conformance.py`). This file needs no packages. Copy this
file into your own program.
"""

import codecs
import json
import re
from dataclasses import dataclass

MAX_TIMESTAMP = 2**53 - 1
MAX_FUTURE_MS = 24 * 60 * 60 * 1000

# (timestamp, id as UTF-8). Python compares tuples and bytes exactly as the version rule demands:
# first the number, then the id byte by byte. The greater version is newer. Equal versions are the
# same event.
Version = tuple[int, bytes]


class Unusable(Exception):
    """A record that nobody can use. Its text is the stable name of the reason."""


@dataclass(frozen=True)
class Number:
    """A number of JSON as its text. A float would lose digits of the sender's 64-bit ids."""

    text: str


@dataclass(frozen=True)
class Event:
    """A customers event of the raw topic: a complete snapshot of one customer."""

    version: Version
    customer_uuid: str
    envelope: dict
    customer_with_vehicles: dict


def _refuse_constant(name: str):
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_float=Number, parse_int=Number, parse_constant=_refuse_constant)
_surrogate = re.compile("[\ud800-\udfff]")


def _parse_json(text: str, reason: str):
    try:
        return _decoder.decode(text)
    except RecursionError:
        raise Unusable("nested-too-deep") from None
    except ValueError:
        raise Unusable(reason) from None


def write_json(value) -> str:
    """Writes JSON as JavaScript does, without blanks. Numbers keep their text.

    Raises Unusable if the value is nested several hundred levels deep.
    """
    try:
        return _write(value)
    except RecursionError:
        raise Unusable("nested-too-deep") from None


def _write(value) -> str:
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{_write(name)}:{_write(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    # UTF-8 cannot hold half of a surrogate pair, so it stays an escape.
    return _surrogate.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(value, ensure_ascii=False))


def _encoding_of(content_type: str | None) -> str:
    declared = re.search(r';\s*charset\s*=\s*(?:"([^"]*)"|([^\s;"]+))', content_type or "", re.IGNORECASE)
    try:
        name = codecs.lookup((declared[1] or declared[2]) if declared else "utf-8").name
    except LookupError:
        name = "utf-8"
    # Decode ISO-8859-1 as windows-1252, because senders often declare the wrong one of the two.
    # `sig` drops a byte order mark.
    return {"utf-8": "utf-8-sig", "ascii": "utf-8-sig", "iso8859-1": "cp1252"}.get(name, name)


def _decode(value: bytes, content_type: str | None = None) -> str:
    try:
        return value.decode(_encoding_of(content_type))
    except (UnicodeError, LookupError):
        raise Unusable("not-utf8") from None


def _timestamp_of(value) -> int | None:
    """Returns Unix milliseconds, or None if the value is no integer from 1 to 2^53-1."""
    is_digits = isinstance(value, str) and re.fullmatch("[0-9]+", value)
    text = value.text if isinstance(value, Number) else value if is_digits else "0"
    # Read the number as a double, as the projector does, so 1728542293678.0 is an integer.
    number = float(text)
    return int(number) if number.is_integer() and 1 <= number <= MAX_TIMESTAMP else None


def _version_of(id, timestamp) -> Version:
    if id is None or id == "":
        raise Unusable("missing-event-id")
    if not isinstance(id, str) or _surrogate.search(id):
        raise Unusable("invalid-event-id")
    milliseconds = _timestamp_of(timestamp)
    if milliseconds is None:
        raise Unusable("invalid-timestamp")
    return (milliseconds, id.encode())


def _customer_with_vehicles(payload) -> dict:
    # The payload is JSON in a string. An object is allowed too.
    parsed = _parse_json(payload, "payload-not-json") if isinstance(payload, str) else payload
    if not isinstance(parsed, dict):
        raise Unusable("payload-not-an-object")
    found = parsed.get("customerWithVehicles")
    if not isinstance(found, dict) or not isinstance(found.get("customer"), dict):
        raise Unusable("missing-customer")
    return found


def read_event(value: bytes, content_type: str | None = None, received_at: int | None = None) -> Event:
    """Reads the value of a raw record.

    content_type: the record's header of this name, if it has one.
    received_at: the record's timestamp, Unix milliseconds.
    Raises Unusable with the reason for which the projector would quarantine the record.
    """
    envelope = _parse_json(_decode(value, content_type), "not-json")
    if not isinstance(envelope, dict):
        raise Unusable("not-an-object")
    types = [envelope.get(name) for name in ("type", "dataType")]
    kind = next((each for each in types if isinstance(each, str) and each != ""), None)
    if kind is None:
        raise Unusable("missing-type")
    if kind != "customers":
        raise Unusable("not-a-customers-event")
    customer_with_vehicles = _customer_with_vehicles(envelope.get("payload"))
    customer_uuid = customer_with_vehicles["customer"].get("customerUuid")
    if not isinstance(customer_uuid, str) or customer_uuid == "":
        raise Unusable("missing-customer-uuid")
    if _surrogate.search(customer_uuid):
        raise Unusable("invalid-customer-uuid")
    version = _version_of(envelope.get("id"), envelope.get("timestamp"))
    if received_at is not None and version[0] - received_at > MAX_FUTURE_MS:
        raise Unusable("too-far-in-future")
    return Event(version, customer_uuid, envelope, customer_with_vehicles)


def _is_count(value) -> bool:
    return isinstance(value, Number) and float(value.text).is_integer() and 0 <= float(value.text) <= MAX_TIMESTAMP


def read_state(value: bytes) -> tuple[Version, dict]:
    """Reads the value of a record of the state topic: returns the version and the document.

    A tombstone has no value (None) and must not be given to this function.
    Raises Unusable if another program wrote the value.
    """
    document = _parse_json(_decode(value), "not-json")
    wrong = Unusable("not-a-state-document")
    if not isinstance(document, dict):
        raise wrong
    uuid, version, customer = (document.get(name) for name in ("customerUuid", "version", "customer"))
    source, other = document.get("source"), document.get("other", {})
    if not isinstance(uuid, str) or uuid == "" or not isinstance(version, dict) or not isinstance(other, dict):
        raise wrong
    if not isinstance(customer, dict) or customer.get("customerUuid") != uuid or not isinstance(source, dict):
        raise wrong
    if not _is_count(document.get("receivedAt")) or not _is_count(source.get("partition")):
        raise wrong
    topic, offset = source.get("topic"), source.get("offset")
    if not isinstance(topic, str) or not isinstance(offset, str) or not re.fullmatch("[0-9]+", offset):
        raise wrong
    if not isinstance(version.get("timestamp"), Number):
        raise wrong
    try:
        return _version_of(version.get("id"), version["timestamp"]), document
    except Unusable:
        raise wrong from None


_OF_THE_ENVELOPE = ("dealerUuid", "departmentUuid")


def _text_of(value) -> str | None:
    return _surrogate.sub("\ufffd", value) if isinstance(value, str) else None if value is None else write_json(value)


def hash_of(document: dict, applied_at: int, projection: int) -> dict[str, str]:
    """Returns the hash that a state document becomes in Redis (docs/contracts.md)."""
    fields: dict[str, str] = {}

    def add(source: str, members: dict) -> None:
        taken_before = set(fields)
        for given, value in members.items():
            text = _text_of(value)
            if text is None:
                continue
            name = _surrogate.sub("\ufffd", given)
            field = f"_{name}" if name.startswith("_") else name
            is_taken = field in taken_before or (source != "envelope" and field in _OF_THE_ENVELOPE)
            fields[f"_{source}.{name}" if is_taken else field] = text

    add("envelope", {name: document.get(name) for name in _OF_THE_ENVELOPE})
    add("customerWithVehicles", {name: document.get(name) for name in ("vehicles", "addresses")})
    add("customer", document["customer"])
    add("customerWithVehicles", document.get("other", {}))
    version, source = document["version"], document["source"]
    return {
        **fields,
        "_eventId": version["id"],
        "_eventTimestamp": version["timestamp"].text,
        "_receivedAt": document["receivedAt"].text,
        "_appliedAt": str(applied_at),
        "_source": f"{source['topic']}/{source['partition'].text}/{source['offset']}",
        "_projection": str(projection),
    }


def partition_of(key: bytes, partitions: int) -> int:
    """Returns the partition of a key: murmur2, as Kafka's Java client computes it."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions
