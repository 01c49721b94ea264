import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.consumer.KafkaConsumer;

/** Ends a program in order on SIGTERM. */
final class Shutdown {
    private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);

    private Shutdown() {}

    /** On SIGTERM the next poll throws WakeupException. The process ends when main has returned. */
    static void wakesUp(KafkaConsumer<?, ?> consumer) {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                main.join();
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }));
    }

    /** Prints UTF-8, whatever the locale is. */
    static void printLine(String line) {
        OUT.println(line);
    }
}
