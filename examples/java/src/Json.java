import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * JSON as plain values: {@code Map<String, Object>}, {@code List<Object>}, {@code String}, {@link
 * Number}, {@code Boolean} and null. If a name occurs twice in an object, the last member is used.
 */
final class Json {
    private static final JsonFactory FACTORY = new JsonFactory();

    private Json() {}

    /** A number as its text. A double would lose digits of the sender's 64-bit ids. */
    record Number(String text) {
        double toDouble() {
            return Double.parseDouble(text);
        }
    }

    /**
     * Parses one document.
     *
     * @throws Unusable with the reason {@code otherwise} if the text is not JSON.
     */
    static Object parse(String text, String otherwise) {
        // Jackson would skip a byte order mark.
        if (text.startsWith("\ufeff")) throw new Unusable(otherwise);
        try (JsonParser parser = FACTORY.createParser(text)) {
            if (parser.nextToken() == null) throw new Unusable(otherwise);
            Object value = read(parser);
            if (parser.nextToken() != null) throw new Unusable(otherwise);
            return value;
        } catch (StreamConstraintsException tooMuch) {
            throw new Unusable("nested-too-deep");
        } catch (IOException notJson) {
            throw new Unusable(otherwise);
        }
    }

    private static Object read(JsonParser parser) throws IOException {
        switch (parser.currentToken()) {
            case START_OBJECT:
                Map<String, Object> object = new LinkedHashMap<>();
                while (parser.nextToken() != JsonToken.END_OBJECT) {
                    String name = parser.currentName();
                    parser.nextToken();
                    object.put(name, read(parser));
                }
                return object;
            case START_ARRAY:
                List<Object> list = new ArrayList<>();
                while (parser.nextToken() != JsonToken.END_ARRAY) list.add(read(parser));
                return list;
            case VALUE_STRING:
                return parser.getText();
            case VALUE_TRUE, VALUE_FALSE:
                return parser.getBooleanValue();
            case VALUE_NULL:
                return null;
            default:
                return new Number(parser.getText());
        }
    }

    /** Writes JSON as JavaScript does, without blanks. Numbers keep their text. */
    static String write(Object value) {
        StringBuilder text = new StringBuilder();
        write(value, text);
        return text.toString();
    }

    private static void write(Object value, StringBuilder text) {
        String comma = "";
        if (value instanceof Map<?, ?> object) {
            text.append('{');
            for (Map.Entry<?, ?> member : object.entrySet()) {
                write(member.getKey(), text.append(comma));
                write(member.getValue(), text.append(':'));
                comma = ",";
            }
            text.append('}');
        } else if (value instanceof List<?> list) {
            text.append('[');
            for (Object item : list) {
                write(item, text.append(comma));
                comma = ",";
            }
            text.append(']');
        } else if (value instanceof String string) {
            writeString(string, text);
        } else {
            text.append(value instanceof Number number ? number.text() : String.valueOf(value));
        }
    }

    private static void writeString(String string, StringBuilder text) {
        text.append('"');
        string.codePoints().forEach(point -> {
            int escape = "\"\\\b\f\n\r\t".indexOf(point);
            if (escape >= 0) text.append('\\').append("\"\\bfnrt".charAt(escape));
            // UTF-8 cannot hold half of a surrogate pair, so it stays an escape.
            else if (point < ' ' || Text.isHalfAPair(point)) text.append(String.format("\\u%04x", point));
            else text.appendCodePoint(point);
        });
        text.append('"');
    }
}
