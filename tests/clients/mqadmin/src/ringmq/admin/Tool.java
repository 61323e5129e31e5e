package ringmq.admin;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** mqadmin in this process: a command's whole output, as an operator would see it. */
final class Tool {
    private final String namesrv;
    private final Map<String, String> outputs = new LinkedHashMap<>();

    Tool(String namesrv) {
        this.namesrv = namesrv;
    }

    /** Runs one command; an error that mqadmin prints instead of its result is ours to throw. */
    String run(String... command) {
        String output = runWhateverComes(command);
        if (output.contains("Exception") || output.contains("\tat ")) {
            throw new AssertionError("mqadmin " + String.join(" ", command) + " printed: " + firstLines(output));
        }
        return output;
    }

    String runWhateverComes(String... command) {
        List<String> arguments = new ArrayList<>(Arrays.asList(command));
        arguments.add("-n");
        arguments.add(namesrv);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        PrintStream capture = new PrintStream(bytes, true, StandardCharsets.UTF_8);
        PrintStream out = System.out;
        PrintStream err = System.err;
        System.setOut(capture);
        System.setErr(capture);
        try {
            MQAdminStartup.main0(arguments.toArray(new String[0]), null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        String output = bytes.toString(StandardCharsets.UTF_8);
        outputs.put(String.join(" ", command), output);
        return output;
    }

    /** All commands so far with what they printed, each the last time it ran. */
    String transcript() {
        StringBuilder text = new StringBuilder();
        outputs.forEach((command, output) ->
            text.append("$ mqadmin ").append(command).append('\n').append(output).append('\n'));
        return text.toString();
    }

    static String firstLines(String output) {
        return output.strip().lines().limit(4).reduce((a, b) -> a + " / " + b).orElse("nothing");
    }
}
