import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.TopicPartition;

/** The newest state of each customer, and the position in Kafka, in one SQLite file. */
final class Store implements AutoCloseable {
    private final Connection connection;

    Store(String file) throws SQLException {
        connection = DriverManager.getConnection("jdbc:sqlite:" + file);
        try (Statement statement = connection.createStatement()) {
            // Store ids as BLOBs, because SQLite compares BLOBs byte by byte.
            statement.executeUpdate("CREATE TABLE IF NOT EXISTS customer"
                    + " (uuid TEXT PRIMARY KEY, timestamp INTEGER, id BLOB, state TEXT)");
            statement.executeUpdate("CREATE TABLE IF NOT EXISTS position"
                    + " (topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY (topic, partition))");
        }
        connection.setAutoCommit(false);
    }

    /** Stores the state, if its version is newer than the stored version. */
    void replaceIfNewer(String uuid, Version version, String state) throws SQLException {
        String sql = "INSERT INTO customer VALUES (?, ?, ?, ?) ON CONFLICT (uuid) DO UPDATE"
                + " SET timestamp = excluded.timestamp, id = excluded.id, state = excluded.state"
                + " WHERE (excluded.timestamp, excluded.id) > (timestamp, id)";
        try (PreparedStatement replace = connection.prepareStatement(sql)) {
            replace.setString(1, uuid);
            replace.setLong(2, version.timestamp());
            replace.setBytes(3, version.idBytes());
            replace.setString(4, state);
            replace.executeUpdate();
        }
    }

    void moveTo(TopicPartition partition, long next) throws SQLException {
        String sql = "INSERT OR REPLACE INTO position VALUES (?, ?, ?)";
        try (PreparedStatement move = connection.prepareStatement(sql)) {
            move.setString(1, partition.topic());
            move.setInt(2, partition.partition());
            move.setLong(3, next);
            move.executeUpdate();
        }
    }

    /** Commits all changes since the last commit in one transaction. */
    void commit() throws SQLException {
        connection.commit();
    }

    /** Returns the next offset of each partition that has a position. */
    Map<TopicPartition, Long> positions() throws SQLException {
        Map<TopicPartition, Long> positions = new HashMap<>();
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT topic, partition, next FROM position")) {
            while (rows.next()) positions.put(new TopicPartition(rows.getString(1), rows.getInt(2)), rows.getLong(3));
        }
        return positions;
    }

    /** Prints each customer as one line of JSON. */
    void print() throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(
                        "SELECT uuid, timestamp, CAST(id AS TEXT), state FROM customer")) {
            while (rows.next()) {
                Shutdown.printLine("{\"customerUuid\":" + Json.write(rows.getString(1)) + ",\"version\":{\"timestamp\":"
                        + rows.getLong(2) + ",\"id\":" + Json.write(rows.getString(3)) + "},\"state\":"
                        + rows.getString(4) + "}");
            }
        }
    }

    @Override
    public void close() throws SQLException {
        connection.close();
    }
}
