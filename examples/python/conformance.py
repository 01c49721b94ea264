"""Runs the conformance vectors: python conformance.py FOLDER. Prints the number that passed."""

import base64
import json
import sys
from pathlib import Path

import normalise
from contract import Unusable, hash_of, partition_of, read_event, read_state


def version_of(vector: dict) -> tuple[int, bytes]:
    return (vector["timestamp"], vector["id"].encode())


def version_or_reason(read) -> dict | str:
    try:
        timestamp, id = read()
        return {"timestamp": timestamp, "id": id.decode()}
    except Unusable as unusable:
        return str(unusable)


def compare(vector: dict) -> int:
    a, b = version_of(vector["a"]), version_of(vector["b"])
    return (a > b) - (a < b)


def read(vector: dict) -> dict | str:
    body = base64.b64decode(vector["bodyBase64"])
    return version_or_reason(lambda: read_event(body, vector.get("contentType"), vector.get("receivedAt")).version)


def state(vector: dict) -> dict | str:
    return version_or_reason(lambda: read_state(base64.b64decode(vector["valueBase64"]))[0])


def hash_(vector: dict) -> dict:
    _, document = read_state(vector["document"].encode())
    return hash_of(document, vector["appliedAt"], vector["projection"])


def partition(vector: dict) -> int:
    return partition_of(vector["key"].encode(), vector["partitions"])


def normalise_(vector: dict) -> str | None:
    if vector["kind"] == "phone":
        return normalise.phone(vector["input"], vector["country"])
    return {"email": normalise.email, "vin": normalise.vin}[vector["kind"]](vector["input"])


RUNS = {
    "compare": (compare, "compare"),
    "read": (read, "expect"),
    "state": (state, "expect"),
    "hash": (hash_, "hash"),
    "partition": (partition, "partition"),
    "normalise": (normalise_, "expect"),
}

passed = failed = 0
for file, (run, expected) in RUNS.items():
    for vector in json.loads((Path(sys.argv[1]) / f"{file}.json").read_text("utf-8")):
        found = run(vector)
        if found == vector[expected]:
            passed += 1
        else:
            failed += 1
            name = vector.get("name") or vector.get("key") or vector.get("input")
            print(f"{file}: {name!r}: {found!r} instead of {vector[expected]!r}", file=sys.stderr)
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
