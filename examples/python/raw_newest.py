"""Keeps the newest event of each customer in SQLite, from the raw topic.

Events repeat and come out of order. So the program stores the version beside the state, and only a
newer event replaces the state. The position is stored in the same transaction, so a crash loses no
event and repeats no event. Settings are environment variables: KAFKA_BROKERS, KAFKA_TOPIC_PREFIX,
GROUP_ID, STATE (a file). With UNTIL_END=1 the program reads all partitions to their end, prints all
customers, and ends.
"""

import os
import signal
import sqlite3
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from contract import Unusable, read_event, write_json

BATCH = 500


def open_store(file: str) -> sqlite3.Connection:
    store = sqlite3.connect(file)
    # BLOBs are compared byte by byte, like ids.
    store.executescript(
        """
        CREATE TABLE IF NOT EXISTS customer (uuid TEXT PRIMARY KEY, timestamp INTEGER, id BLOB, state TEXT);
        CREATE TABLE IF NOT EXISTS position (topic TEXT, partition INTEGER, next INTEGER,
                                             PRIMARY KEY (topic, partition));
        """
    )
    return store


def apply(store: sqlite3.Connection, message: Message) -> None:
    """Stores an event if it is newer than the stored event. Raises Unusable if there is no event."""
    headers = dict(message.headers() or [])
    content_type = headers.get("content-type")
    event = read_event(
        message.value() or b"",
        content_type.decode("latin-1") if content_type is not None else None,
        message.timestamp()[1],
    )
    timestamp, id = event.version
    envelope = event.envelope
    state = {
        "dealerUuid": envelope.get("dealeruuid"),
        "departmentUuid": envelope.get("departmentuuid"),
        "customerWithVehicles": event.customer_with_vehicles,
    }
    store.execute(
        """
        INSERT INTO customer VALUES (?, ?, ?, ?)
        ON CONFLICT (uuid) DO UPDATE SET timestamp = excluded.timestamp, id = excluded.id, state = excluded.state
        WHERE (excluded.timestamp, excluded.id) > (timestamp, id)
        """,
        (event.customer_uuid, timestamp, id, write_json(state)),
    )


def apply_all(store: sqlite3.Connection, messages: list[Message]) -> None:
    """Applies a batch and moves the positions, in one transaction."""
    with store:
        for message in messages:
            place = (message.topic(), message.partition(), message.offset())
            try:
                apply(store, message)
            except Unusable as unusable:
                # Skip the record, because it can never be used. Quarantine has a copy.
                print(f"skipped {'/'.join(map(str, place))}: {unusable}", file=sys.stderr)
            store.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", (*place[:2], place[2] + 1))


def main() -> None:
    topic = os.environ.get("KAFKA_TOPIC_PREFIX", "mykaarma.") + "customers.raw"
    store = open_store(os.environ.get("STATE", "customers.db"))
    behind: set[int] | None = None

    def seek_to_stored(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # Begin at the position in the store. The group's committed offsets are not used.
        nonlocal behind
        stored = dict(store.execute("SELECT partition, next FROM position WHERE topic = ?", (topic,)))
        for each in partitions:
            each.offset = stored.get(each.partition, OFFSET_BEGINNING)
        consumer.assign(partitions)
        behind = {each.partition for each in partitions}

    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "localhost:9092"),
            "group.id": os.environ.get("GROUP_ID", "raw-newest"),
            "enable.auto.commit": False,
            # If retention has removed the record at the position, continue at the oldest record.
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe([topic], on_assign=seek_to_stored)
    stopping: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _frame: stopping.append(number))
    until_end = os.environ.get("UNTIL_END") == "1"
    while not stopping and not (until_end and behind == set()):
        messages = consumer.consume(BATCH, timeout=1.0)
        ends = [each for each in messages if each.error() is not None]
        apply_all(store, [each for each in messages if each.error() is None])
        for end in ends:
            if end.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(end.error())  # the program ends with code 1
            if behind is not None:
                behind.discard(end.partition())
    consumer.close()
    if until_end and behind == set():
        for uuid, timestamp, id, state in store.execute("SELECT * FROM customer"):
            version = f'{{"timestamp":{timestamp},"id":{write_json(id.decode())}}}'
            print(f'{{"customerUuid":{write_json(uuid)},"version":{version},"state":{state}}}')


if __name__ == "__main__":
    main()
