import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Text of records: charsets, and halves of surrogate pairs, which UTF-8 cannot express. */
final class Text {
    private static final Pattern CHARSET =
            Pattern.compile(";\\s*charset\\s*=\\s*(?:\"([^\"]*)\"|([^\\s;\"]+))", Pattern.CASE_INSENSITIVE);

    private Text() {}

    /**
     * Decodes a value. {@code new String(bytes, charset)} would replace broken bytes silently.
     *
     * @param contentType the record's header of this name, or null.
     * @throws Unusable if the bytes are broken.
     */
    static String decode(byte[] value, String contentType) {
        try {
            String text = charsetOf(contentType).newDecoder().decode(ByteBuffer.wrap(value)).toString();
            return text.startsWith("\ufeff") ? text.substring(1) : text;
        } catch (CharacterCodingException broken) {
            throw new Unusable("not-utf8");
        }
    }

    private static Charset charsetOf(String contentType) {
        Matcher matcher = CHARSET.matcher(contentType == null ? "" : contentType);
        if (!matcher.find()) return StandardCharsets.UTF_8;
        try {
            Charset charset = Charset.forName(matcher.group(1) != null ? matcher.group(1) : matcher.group(2));
            if (charset.equals(StandardCharsets.US_ASCII)) return StandardCharsets.UTF_8;
            // Decode ISO-8859-1 as windows-1252, because senders often declare the wrong one of the
            // two.
            return charset.equals(StandardCharsets.ISO_8859_1) ? Charset.forName("windows-1252") : charset;
        } catch (IllegalArgumentException unknown) {
            return StandardCharsets.UTF_8;
        }
    }

    static boolean isHalfAPair(int codePoint) {
        return codePoint >= 0xd800 && codePoint <= 0xdfff;
    }

    static boolean isWellFormed(String text) {
        return text.codePoints().noneMatch(Text::isHalfAPair);
    }

    /** Replaces each half of a surrogate pair by U+FFFD, as clients of Redis do. */
    static String wellFormed(String text) {
        int[] points = text.codePoints().map(point -> isHalfAPair(point) ? 0xfffd : point).toArray();
        return new String(points, 0, points.length);
    }
}
