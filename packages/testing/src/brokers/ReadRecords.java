import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic from its first record to its current end with Kafka's Java client. Prints one line
 * for each record: partition, offset, timestamp, key, value, then each header as name=value. Bytes
 * are base64; "-" is null. Arguments: brokers, topic.
 */
public class ReadRecords {
  private static String text(byte[] bytes) {
    return bytes == null ? "-" : "b" + Base64.getEncoder().encodeToString(bytes);
  }

  public static void main(String[] args) {
    Map<String, Object> settings = Map.of("bootstrap.servers", args[0], "enable.auto.commit", false);
    var bytes = new ByteArrayDeserializer();
    try (var consumer = new KafkaConsumer<byte[], byte[]>(settings, bytes, bytes)) {
      List<TopicPartition> partitions =
          consumer.partitionsFor(args[1]).stream().map(p -> new TopicPartition(p.topic(), p.partition())).toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      var ends = consumer.endOffsets(partitions);
      while (ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
        for (var record : consumer.poll(Duration.ofMillis(500))) {
          var line = new StringBuilder();
          line.append("record ").append(record.partition()).append(' ').append(record.offset());
          line.append(' ').append(record.timestamp());
          line.append(' ').append(text(record.key())).append(' ').append(text(record.value()));
          for (var header : record.headers())
            line.append(' ').append(text(header.key().getBytes(java.nio.charset.StandardCharsets.UTF_8)))
                .append('=').append(text(header.value()));
          System.out.println(line);
        }
      }
    }
  }
}
