import com.google.i18n.phonenumbers.NumberParseException;
import com.google.i18n.phonenumbers.PhoneNumberUtil;
import com.google.i18n.phonenumbers.PhoneNumberUtil.PhoneNumberFormat;
import com.google.i18n.phonenumbers.PhoneNumberUtil.ValidationResult;
import com.google.i18n.phonenumbers.Phonenumber.PhoneNumber;
import java.text.Normalizer;
import java.util.Locale;

/** Makes terms for an index by phone number, e-mail address or VIN. Null if there is no term. */
final class Normalise {
    private static final PhoneNumberUtil PHONES = PhoneNumberUtil.getInstance();

    private Normalise() {}

    /**
     * Returns a phone number as E.164, without its extension.
     *
     * @param country the country of a number without a country code, such as US.
     */
    static String phone(String text, String country) {
        try {
            PhoneNumber number = PHONES.parse(text, country);
            // Do not use isPossibleNumber, because it accepts numbers without an area code.
            boolean isPossible = PHONES.isPossibleNumberWithReason(number) == ValidationResult.IS_POSSIBLE;
            return isPossible ? PHONES.format(number, PhoneNumberFormat.E164) : null;
        } catch (NumberParseException notANumber) {
            return null;
        }
    }

    // (?U): white space of Unicode. String.strip() would keep a no-break space.
    static String email(String text) {
        String trimmed = text.replaceAll("(?U)^\\s+|\\s+$", "");
        return orNull(Normalizer.normalize(trimmed.toLowerCase(Locale.ROOT), Normalizer.Form.NFC));
    }

    static String vin(String text) {
        return orNull(text.replaceAll("(?U)\\s", "").toUpperCase(Locale.ROOT));
    }

    private static String orNull(String text) {
        return text.isEmpty() ? null : text;
    }
}
