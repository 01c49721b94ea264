import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Decides which of two events is newer. The event with the greater timestamp is newer. If the
 * timestamps are equal, the event with the greater id is newer, by the UTF-8 bytes of the id. Equal
 * versions are the same event.
 */
record Version(long timestamp, String id) implements Comparable<Version> {
    byte[] idBytes() {
        return id.getBytes(StandardCharsets.UTF_8);
    }

    @Override
    public int compareTo(Version other) {
        int byTime = Long.compare(timestamp, other.timestamp);
        // String.compareTo orders differently: it compares UTF-16 code units.
        return byTime != 0 ? byTime : Arrays.compareUnsigned(idBytes(), other.idBytes());
    }
}
