package ringmq.clients;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/**
 * Usage: Main HOST:PORT [scenario…]. Runs the named scenarios, or all, and
 * exits 0 when all checks pass.
 */
public final class Main {
    private static final int AT_ONCE = 12;
    private static final long MINUTES_MAX = 5;

    private interface Scenario {
        void run(World world) throws Exception;
    }

    private static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();

    static {
        // The longest first, so that the last ones running are short.
        SCENARIOS.put("rebalancing", Rebalancing::run);
        SCENARIOS.put("bodies", Bodies::run);
        SCENARIOS.put("litepull", LitePulling::run);
        SCENARIOS.put("starting", Starting::run);
        SCENARIOS.put("sending", Sending::run);
        SCENARIOS.put("pushing", PushConsuming::run);
        SCENARIOS.put("pulling", ClassicPulling::run);
        SCENARIOS.put("broadcasting", Broadcasting::run);
        SCENARIOS.put("offsets", Offsets::run);
        SCENARIOS.put("refusals", Refusals::run);
        SCENARIOS.put("vip", VipChannel::run);
    }

    private Main() {
    }

    public static void main(String[] arguments) throws Exception {
        List<String> names = new ArrayList<>(Arrays.asList(arguments).subList(1, arguments.length));
        if (names.isEmpty()) {
            names.addAll(SCENARIOS.keySet());
        }
        ExecutorService threads = Executors.newFixedThreadPool(AT_ONCE);
        for (String name : names) {
            threads.submit(() -> runOne(arguments[0], name));
        }
        threads.shutdown();
        if (!threads.awaitTermination(MINUTES_MAX, TimeUnit.MINUTES)) {
            Checks.check("all scenarios end within " + MINUTES_MAX + " minutes", () -> {
                throw new AssertionError("some did not");
            });
        }
        System.out.println(Checks.PASSED.get() + " passed, " + Checks.FAILED.get() + " failed");
        // The clients' own threads need not be waited for.
        System.out.flush();
        Runtime.getRuntime().halt(Checks.FAILED.get() == 0 && Checks.PASSED.get() > 0 ? 0 : 1);
    }

    private static void runOne(String namesrv, String name) {
        try (World world = new World(namesrv, name)) {
            SCENARIOS.get(name).run(world);
        } catch (Throwable why) {
            Checks.check("scenario " + name + " runs to its end", () -> {
                throw why instanceof Exception ? (Exception) why : new Exception(why);
            });
        }
    }
}
