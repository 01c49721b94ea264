import java.nio.charset.StandardCharsets;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Keeps the newest event of each customer in SQLite, from the raw topic. Events repeat and come in
 * any order, so the program stores the version with the state, and only a newer event replaces the
 * state. The position is stored in the same transaction, so a crash loses no event and repeats no
 * event. Settings are environment variables: KAFKA_BROKERS, KAFKA_TOPIC_PREFIX, GROUP_ID, STATE (a
 * file). With UNTIL_END=1 the program reads all partitions to their end, prints all customers, and
 * ends.
 */
final class RawNewest {
    private RawNewest() {}

    private static void apply(Store store, ConsumerRecord<byte[], byte[]> record) throws SQLException {
        Header header = record.headers().lastHeader("content-type");
        byte[] declared = header == null ? null : header.value();
        String contentType = declared == null ? null : new String(declared, StandardCharsets.ISO_8859_1);
        byte[] value = record.value() == null ? new byte[0] : record.value();
        try {
            Contract.Event event = Contract.readEvent(value, contentType, record.timestamp());
            Map<String, Object> state = new HashMap<>();
            state.put("dealerUuid", event.envelope().get("dealeruuid"));
            state.put("departmentUuid", event.envelope().get("departmentuuid"));
            state.put("customerWithVehicles", event.customerWithVehicles());
            store.replaceIfNewer(event.customerUuid(), event.version(), Json.write(state));
        } catch (Unusable unusable) {
            // Skip the record, because it can never be used. Quarantine has a copy.
            System.err.printf("skipped %s/%d/%d: %s%n", record.topic(), record.partition(), record.offset(),
                    unusable.getMessage());
        }
    }

    /** Seeks to the position of the store. The group's committed offsets are not used. */
    private static ConsumerRebalanceListener seeksToStored(
            KafkaConsumer<?, ?> consumer, Store store, Map<TopicPartition, Long> ends) {
        return new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                try {
                    Map<TopicPartition, Long> positions = store.positions();
                    for (TopicPartition partition : partitions) {
                        if (positions.containsKey(partition)) consumer.seek(partition, positions.get(partition));
                        else consumer.seekToBeginning(List.of(partition));
                    }
                    ends.putAll(consumer.endOffsets(partitions));
                } catch (SQLException error) {
                    throw new IllegalStateException(error);
                }
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                ends.keySet().removeAll(partitions);
            }
        };
    }

    private static boolean hasRead(KafkaConsumer<?, ?> consumer, Map<TopicPartition, Long> ends) {
        return !ends.isEmpty()
                && ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
    }

    public static void main(String[] args) throws SQLException {
        Map<String, String> env = System.getenv();
        String topic = env.getOrDefault("KAFKA_TOPIC_PREFIX", "mykaarma.") + "customers.raw";
        boolean untilEnd = "1".equals(env.get("UNTIL_END"));
        Map<TopicPartition, Long> ends = new HashMap<>();
        try (Store store = new Store(env.getOrDefault("STATE", "customers.db"));
                KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                        Map.of(
                                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG,
                                env.getOrDefault("KAFKA_BROKERS", "localhost:9092"),
                                ConsumerConfig.GROUP_ID_CONFIG, env.getOrDefault("GROUP_ID", "raw-newest"),
                                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false",
                                // If retention has removed the record at the position, continue at
                                // the oldest record.
                                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                                // Skip the records of aborted transactions.
                                ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                                // Otherwise a misspelt name would create a topic.
                                ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, "false"),
                        new ByteArrayDeserializer(),
                        new ByteArrayDeserializer())) {
            Shutdown.wakesUp(consumer);
            consumer.subscribe(List.of(topic), seeksToStored(consumer, store, ends));
            while (!(untilEnd && hasRead(consumer, ends))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    apply(store, record);
                    store.moveTo(new TopicPartition(record.topic(), record.partition()), record.offset() + 1);
                }
                store.commit();
            }
            store.print();
        } catch (WakeupException stopped) {
            // SIGTERM: the transaction of the last poll is committed, and the consumer has left the
            // group.
        }
    }
}
