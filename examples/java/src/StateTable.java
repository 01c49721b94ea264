import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Keeps a table of all customers in memory, from the state topic. The program reads the whole topic
 * at each start, so it needs no group and no store that could disagree with the topic. Settings are
 * environment variables: KAFKA_BROKERS, KAFKA_TOPIC_PREFIX. With UNTIL_END=1 the program reads all
 * partitions to their end, prints all customers, and ends.
 */
final class StateTable {
    private final Map<String, Contract.State> customers = new HashMap<>();

    /**
     * Applies one record.
     *
     * @throws Unusable if another program wrote the record.
     */
    void apply(ConsumerRecord<byte[], byte[]> record) {
        String uuid = record.key() == null ? "" : new String(record.key(), StandardCharsets.UTF_8);
        if (record.value() == null) {
            customers.remove(uuid); // a tombstone: the customer was erased
            return;
        }
        Contract.State state = Contract.readState(record.value());
        if (!state.customerUuid().equals(uuid)) throw new Unusable("wrong-key");
        // Compare versions, because an older document may follow a newer document.
        customers.merge(uuid, state, (held, next) -> next.version().compareTo(held.version()) >= 0 ? next : held);
    }

    public static void main(String[] args) {
        Map<String, String> env = System.getenv();
        String topic = env.getOrDefault("KAFKA_TOPIC_PREFIX", "mykaarma.") + "customers.state";
        boolean untilEnd = "1".equals(env.get("UNTIL_END"));
        StateTable table = new StateTable();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                Map.of(
                        ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, env.getOrDefault("KAFKA_BROKERS", "localhost:9092"),
                        // If the topic was created again, Kafka no longer has the position. Then
                        // read the whole topic.
                        ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                        // Skip the records of aborted transactions.
                        ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                        // Otherwise a misspelt name would create a topic.
                        ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG, "false"),
                new ByteArrayDeserializer(),
                new ByteArrayDeserializer())) {
            Shutdown.wakesUp(consumer);
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition()))
                    .toList();
            if (partitions.isEmpty()) throw new IllegalStateException("topic " + topic + " does not exist");
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            boolean isComplete = false;
            while (!(isComplete && untilEnd)) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    try {
                        table.apply(record);
                    } catch (Unusable unusable) {
                        System.err.printf("skipped %s/%d/%d: %s%n", topic, record.partition(), record.offset(),
                                unusable.getMessage());
                    }
                }
                if (!isComplete
                        && ends.entrySet().stream()
                                .allMatch(end -> consumer.position(end.getKey()) >= end.getValue())) {
                    isComplete = true;
                    System.err.println("complete: " + table.customers.size() + " customers");
                }
            }
        } catch (WakeupException stopped) {
            return;
        }
        table.customers.values().forEach(state -> Shutdown.printLine(Json.write(state.document())));
    }
}
