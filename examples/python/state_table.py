"""Keeps a table of all customers in memory, from the state topic.

The program reads the whole topic at each start, so it needs no group, no commit and no store that
could disagree with the topic. Settings are environment variables: KAFKA_BROKERS,
KAFKA_TOPIC_PREFIX. With UNTIL_END=1 the program reads all partitions to their end, prints all
customers, and ends.
"""

import os
import signal
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from contract import Unusable, Version, read_state, write_json

Table = dict[str, tuple[Version, dict]]


def apply(table: Table, key: bytes | None, value: bytes | None) -> None:
    """Applies one record. Raises Unusable if another program wrote it."""
    try:
        uuid = (key or b"").decode()
    except UnicodeDecodeError:
        raise Unusable("wrong-key") from None
    if value is None:
        table.pop(uuid, None)  # a tombstone: the customer was erased
        return
    version, document = read_state(value)
    if document["customerUuid"] != uuid:
        raise Unusable("wrong-key")
    held = table.get(uuid)
    # Compare versions, because an older document may follow a newer document.
    if held is None or version >= held[0]:
        table[uuid] = (version, document)


def main() -> None:
    topic = os.environ.get("KAFKA_TOPIC_PREFIX", "mykaarma.") + "customers.state"
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "localhost:9092"),
            # librdkafka demands a name. The program neither subscribes nor commits, so Kafka
            # creates no group.
            "group.id": "state-table",
            "enable.auto.commit": False,
            # If the topic was created again, Kafka no longer has the position. Then read the whole
            # topic.
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    metadata = consumer.list_topics(topic, timeout=10).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in metadata.partitions])

    table: Table = {}
    behind = set(metadata.partitions)
    stopping: list[int] = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _frame: stopping.append(number))
    while not stopping:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error() is None:
            try:
                apply(table, message.key(), message.value())
            except Unusable as unusable:
                print(f"skipped {topic}/{message.partition()}/{message.offset()}: {unusable}", file=sys.stderr)
            continue
        if message.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(message.error())  # the program ends with code 1
        if message.partition() in behind:
            behind.remove(message.partition())
            if not behind:
                print(f"complete: {len(table)} customers", file=sys.stderr)
                if os.environ.get("UNTIL_END") == "1":
                    break
    consumer.close()
    if not behind and os.environ.get("UNTIL_END") == "1":
        for _version, document in table.values():
            print(write_json(document))


if __name__ == "__main__":
    main()
