import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;

/** Reads the records of customer-stream. The conformance vectors check this class. */
final class Contract {
    private static final double MAX_TIMESTAMP = 9007199254740991.0;
    private static final long MAX_FUTURE_MS = 24L * 60 * 60 * 1000;
    private static final List<String> OF_THE_ENVELOPE = List.of("dealerUuid", "departmentUuid");

    private Contract() {}

    /** A customers event of the raw topic: a complete snapshot of one customer. */
    record Event(
            Version version,
            String customerUuid,
            Map<String, Object> envelope,
            Map<String, Object> customerWithVehicles) {}

    /** The current state of one customer, from the state topic. */
    record State(Version version, String customerUuid, Map<String, Object> document) {}

    /**
     * Reads the value of a raw record.
     *
     * @param contentType the record's header of this name, or null.
     * @param receivedAt the record's timestamp, Unix milliseconds. Null skips the check of the
     *   time.
     * @throws Unusable with the reason for which the projector would quarantine the record.
     */
    static Event readEvent(byte[] value, String contentType, Long receivedAt) {
        Map<String, Object> envelope = objectOf(Json.parse(Text.decode(value, contentType), "not-json"));
        if (envelope == null) throw new Unusable("not-an-object");
        String type = Stream.of("type", "dataType")
                .map(name -> textOf(envelope.get(name)))
                .filter(each -> !each.isEmpty())
                .findFirst()
                .orElseThrow(() -> new Unusable("missing-type"));
        if (!type.equals("customers")) throw new Unusable("not-a-customers-event");
        Map<String, Object> customerWithVehicles = customerWithVehicles(envelope.get("payload"));
        String uuid = textOf(objectOf(customerWithVehicles.get("customer")).get("customerUuid"));
        if (uuid.isEmpty()) throw new Unusable("missing-customer-uuid");
        if (!Text.isWellFormed(uuid)) throw new Unusable("invalid-customer-uuid");
        Version version = versionOf(envelope.get("id"), envelope.get("timestamp"));
        if (receivedAt != null && version.timestamp() - receivedAt > MAX_FUTURE_MS)
            throw new Unusable("too-far-in-future");
        return new Event(version, uuid, envelope, customerWithVehicles);
    }

    /**
     * Reads the value of a record of the state topic. A tombstone has no value and must not be
     * given to this method.
     *
     * @throws Unusable if another program wrote the value.
     */
    static State readState(byte[] value) {
        Map<String, Object> document = objectOf(Json.parse(Text.decode(value, null), "not-json"));
        Unusable wrong = new Unusable("not-a-state-document");
        if (document == null) throw wrong;
        String uuid = textOf(document.get("customerUuid"));
        Map<String, Object> version = objectOf(document.get("version"));
        Map<String, Object> customer = objectOf(document.get("customer"));
        Map<String, Object> source = objectOf(document.get("source"));
        if (uuid.isEmpty() || version == null || customer == null || source == null) throw wrong;
        if (!uuid.equals(customer.get("customerUuid"))) throw wrong;
        if (document.containsKey("other") && objectOf(document.get("other")) == null) throw wrong;
        if (!isCount(document.get("receivedAt")) || !isCount(source.get("partition"))) throw wrong;
        if (!(source.get("topic") instanceof String) || !textOf(source.get("offset")).matches("[0-9]+")) throw wrong;
        if (!(version.get("timestamp") instanceof Json.Number)) throw wrong;
        try {
            return new State(versionOf(version.get("id"), version.get("timestamp")), uuid, document);
        } catch (Unusable unusable) {
            throw wrong;
        }
    }

    /** Returns the members of an object. Null if the value is not an object. */
    @SuppressWarnings("unchecked")
    private static Map<String, Object> objectOf(Object value) {
        return value instanceof Map ? (Map<String, Object>) value : null;
    }

    /** Returns the value if it is a text, otherwise an empty text. */
    private static String textOf(Object value) {
        return value instanceof String text ? text : "";
    }

    private static boolean isCount(Object value) {
        if (!(value instanceof Json.Number number)) return false;
        double count = number.toDouble();
        return count >= 0 && count <= MAX_TIMESTAMP && count % 1 == 0;
    }

    private static Version versionOf(Object id, Object timestamp) {
        if (id == null || id.equals("")) throw new Unusable("missing-event-id");
        if (!(id instanceof String text) || !Text.isWellFormed(text)) throw new Unusable("invalid-event-id");
        boolean isDigits = timestamp instanceof String digits && digits.matches("[0-9]+");
        // Read the number as a double, as the projector does, so 1728542293678.0 is an integer.
        double number = timestamp instanceof Json.Number given
                ? given.toDouble()
                : isDigits ? Double.parseDouble((String) timestamp) : 0;
        if (number < 1 || number > MAX_TIMESTAMP || number % 1 != 0) throw new Unusable("invalid-timestamp");
        return new Version((long) number, text);
    }

    private static Map<String, Object> customerWithVehicles(Object payload) {
        // The payload is JSON in a string. An object is allowed too.
        Map<String, Object> parsed =
                objectOf(payload instanceof String text ? Json.parse(text, "payload-not-json") : payload);
        if (parsed == null) throw new Unusable("payload-not-an-object");
        Map<String, Object> found = objectOf(parsed.get("customerWithVehicles"));
        if (found == null || objectOf(found.get("customer")) == null) throw new Unusable("missing-customer");
        return found;
    }

    /** Returns the hash that a state document becomes in Redis (docs/contracts.md). */
    static Map<String, String> hashOf(State state, long appliedAt, int projection) {
        Map<String, String> fields = new LinkedHashMap<>();
        Map<String, Object> document = state.document();
        add(fields, "envelope", pick(document, OF_THE_ENVELOPE));
        add(fields, "customerWithVehicles", pick(document, List.of("vehicles", "addresses")));
        add(fields, "customer", objectOf(document.get("customer")));
        if (document.containsKey("other")) add(fields, "customerWithVehicles", objectOf(document.get("other")));
        Map<String, Object> source = objectOf(document.get("source"));
        fields.put("_eventId", state.version().id());
        fields.put("_eventTimestamp", Long.toString(state.version().timestamp()));
        fields.put("_receivedAt", Json.write(document.get("receivedAt")));
        fields.put("_appliedAt", Long.toString(appliedAt));
        String partition = Json.write(source.get("partition"));
        fields.put("_source", source.get("topic") + "/" + partition + "/" + source.get("offset"));
        fields.put("_projection", Integer.toString(projection));
        return fields;
    }

    private static Map<String, Object> pick(Map<String, Object> document, List<String> names) {
        Map<String, Object> picked = new LinkedHashMap<>();
        for (String name : names) picked.put(name, document.get(name));
        return picked;
    }

    private static void add(Map<String, String> fields, String source, Map<String, Object> members) {
        Set<String> takenBefore = new HashSet<>(fields.keySet());
        members.forEach((given, value) -> {
            if (value == null) return;
            String name = Text.wellFormed(given);
            String field = name.startsWith("_") ? "_" + name : name;
            boolean isTaken = takenBefore.contains(field)
                    || (!source.equals("envelope") && OF_THE_ENVELOPE.contains(field));
            String text = value instanceof String string ? Text.wellFormed(string) : Json.write(value);
            fields.put(isTaken ? "_" + source + "." + name : field, text);
        });
    }
}
