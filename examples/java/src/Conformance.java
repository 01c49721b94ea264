import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.Supplier;
import org.apache.kafka.common.utils.Utils;

/** Runs the conformance vectors of a folder, and prints the number of passed vectors. */
final class Conformance {
    private static int passed;
    private static int failed;

    private Conformance() {}

    public static void main(String[] args) throws IOException {
        Path folder = Path.of(args[0]);
        run(folder, "compare", "compare", Conformance::compare);
        run(folder, "read", "expect", Conformance::read);
        run(folder, "state", "expect", Conformance::state);
        run(folder, "hash", "hash", Conformance::hash);
        run(folder, "partition", "partition", Conformance::partition);
        run(folder, "normalise", "expect", Conformance::normalise);
        System.out.println(passed + " passed, " + failed + " failed");
        System.exit(failed > 0 ? 1 : 0);
    }

    @SuppressWarnings("unchecked")
    private static void run(Path folder, String file, String expected, Function<Map<String, Object>, Object> make)
            throws IOException {
        String text = Files.readString(folder.resolve(file + ".json"), StandardCharsets.UTF_8);
        for (Object each : (List<Object>) Json.parse(text, "not-json")) {
            Map<String, Object> vector = (Map<String, Object>) each;
            Object found = make.apply(vector);
            if (Objects.equals(found, vector.get(expected))) {
                passed++;
            } else {
                failed++;
                Object name = vector.getOrDefault("name", vector.getOrDefault("key", vector.get("input")));
                System.err.println(file + ": " + name + ": " + found + " instead of " + vector.get(expected));
            }
        }
    }

    private static Json.Number number(long value) {
        return new Json.Number(Long.toString(value));
    }

    private static long longOf(Object value) {
        return Long.parseLong(((Json.Number) value).text());
    }

    private static byte[] bytesOf(Object base64) {
        return Base64.getDecoder().decode((String) base64);
    }

    private static Version versionOf(Object value) {
        Map<?, ?> version = (Map<?, ?>) value;
        return new Version(longOf(version.get("timestamp")), (String) version.get("id"));
    }

    private static Object versionOrReason(Supplier<Version> read) {
        try {
            Version version = read.get();
            return Map.of("timestamp", number(version.timestamp()), "id", version.id());
        } catch (Unusable unusable) {
            return unusable.getMessage();
        }
    }

    private static Object compare(Map<String, Object> vector) {
        return number(Integer.signum(versionOf(vector.get("a")).compareTo(versionOf(vector.get("b")))));
    }

    private static Object read(Map<String, Object> vector) {
        Long receivedAt = vector.containsKey("receivedAt") ? longOf(vector.get("receivedAt")) : null;
        String contentType = (String) vector.get("contentType");
        return versionOrReason(
                () -> Contract.readEvent(bytesOf(vector.get("bodyBase64")), contentType, receivedAt).version());
    }

    private static Object state(Map<String, Object> vector) {
        return versionOrReason(() -> Contract.readState(bytesOf(vector.get("valueBase64"))).version());
    }

    private static Object hash(Map<String, Object> vector) {
        byte[] document = ((String) vector.get("document")).getBytes(StandardCharsets.UTF_8);
        int projection = (int) longOf(vector.get("projection"));
        return Contract.hashOf(Contract.readState(document), longOf(vector.get("appliedAt")), projection);
    }

    private static Object partition(Map<String, Object> vector) {
        byte[] key = ((String) vector.get("key")).getBytes(StandardCharsets.UTF_8);
        return number(Utils.toPositive(Utils.murmur2(key)) % longOf(vector.get("partitions")));
    }

    private static Object normalise(Map<String, Object> vector) {
        String input = (String) vector.get("input");
        return switch ((String) vector.get("kind")) {
            case "phone" -> Normalise.phone(input, (String) vector.get("country"));
            case "email" -> Normalise.email(input);
            case "vin" -> Normalise.vin(input);
            default -> throw new IllegalArgumentException("unknown kind");
        };
    }
}
