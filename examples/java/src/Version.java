import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Decides which of two events is newer: the one with the greater timestamp or, if they are equal,
 * the one whose id is greater by its UTF-8 bytes. Equal versions are the same event.
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
