import io.debezium.data.Envelope;
import io.debezium.serde.DebeziumSerdes;
import io.debezium.transforms.ExtractNewRecordState;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.sink.SinkRecord;

/**
 * Reads events, one a line, as consumers of Debezium's do, and prints for each a line of JSON: what JsonConverter makes
 * of it, what ExtractNewRecordState leaves of that (with schemas), and what Debezium's own deserializer gives.
 */
public class Consume {
    public static void main(String[] arguments) throws Exception {
        boolean hasSchemas = Boolean.parseBoolean(arguments[0]);
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", String.valueOf(hasSchemas)), false);
        JsonConverter plain = new JsonConverter();
        plain.configure(Map.of("schemas.enable", "false"), false);
        ExtractNewRecordState<SinkRecord> unwrap = new ExtractNewRecordState<>();
        unwrap.configure(Map.of("delete.tombstone.handling.mode", "rewrite"));
        Serde<Map> serde = DebeziumSerdes.payloadJson(Map.class);
        serde.configure(Map.of("from.field", "after"), false);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line; (line = in.readLine()) != null;) {
            byte[] payload = line.getBytes(StandardCharsets.UTF_8);
            SchemaAndValue read = converter.toConnectData("events", payload);
            String unwrapped = "null";
            if (hasSchemas) {
                if (!Envelope.isEnvelopeSchema(read.schema())) {
                    throw new IllegalArgumentException("no envelope of Debezium's");
                }
                SinkRecord record = unwrap.apply(record(read));
                if (record != null && record.value() != null) {
                    ((Struct) record.value()).validate();
                    unwrapped = text(plain.fromConnectData("events", record.valueSchema(), record.value()));
                }
            }
            Object after = serde.deserializer().deserialize("events", payload);
            out.println("{\"value\":" + text(plain.fromConnectData("events", read.schema(), read.value()))
                    + ",\"unwrapped\":" + unwrapped
                    + ",\"after\":" + new com.fasterxml.jackson.databind.ObjectMapper().writeValueAsString(after) + "}");
        }
    }

    private static SinkRecord record(SchemaAndValue read) {
        return new SinkRecord("events", 0, null, null, read.schema(), read.value(), 0);
    }

    private static String text(byte[] json) {
        return json == null ? "null" : new String(json, StandardCharsets.UTF_8);
    }
}
