/** A record that nobody can use. The message is the stable name of the reason. */
final class Unusable extends RuntimeException {
    private static final long serialVersionUID = 1;

    Unusable(String reason) {
        super(reason);
    }
}
