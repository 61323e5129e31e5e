package ringmq.clients;

import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;

/** One line per check on stdout; counts what passed and what failed. */
final class Checks {
    static final AtomicInteger PASSED = new AtomicInteger();
    static final AtomicInteger FAILED = new AtomicInteger();
    private static final String LABEL = System.getProperty("judge.label", Generation.NAME);
    private static final long WAIT_MS = 40_000;
    private static final long LOOK_EVERY_MS = 20;

    private Checks() {
    }

    /** A check's body; whatever it throws is the reason of the failure. */
    interface Body {
        void run() throws Exception;
    }

    static void check(String sentence, Body body) {
        long begun = System.currentTimeMillis();
        try {
            body.run();
            PASSED.incrementAndGet();
            say("ok " + LABEL + ": " + sentence + took(begun));
        } catch (Throwable why) {
            FAILED.incrementAndGet();
            say("FAIL " + LABEL + ": " + sentence + ": " + reason(why));
        }
    }

    static void require(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static void same(String what, Object expected, Object actual) {
        require(Objects.equals(expected, actual), what + " should be " + expected + ", is " + actual);
    }

    /** Looks until the condition holds; bounded. `state` tells a failure what was seen last. */
    static void await(String what, Callable<Boolean> condition, Callable<Object> state) throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (!condition.call()) {
            if (System.currentTimeMillis() > deadline) {
                throw new AssertionError("not within " + WAIT_MS / 1000 + " s: " + what + "; seen " + state.call());
            }
            Thread.sleep(LOOK_EVERY_MS);
        }
    }

    /** Only what is worth a look. */
    private static String took(long begun) {
        long seconds = (System.currentTimeMillis() - begun) / 1000;
        return seconds < 3 ? "" : " (" + seconds + " s)";
    }

    private static String reason(Throwable why) {
        StringBuilder text = new StringBuilder(String.valueOf(why).replace('\n', ' '));
        for (StackTraceElement at : why.getStackTrace()) {
            if (at.getClassName().startsWith("ringmq.") && !at.getClassName().endsWith("Checks")) {
                text.append(" at ").append(at.getFileName()).append(':').append(at.getLineNumber());
                break;
            }
        }
        return text.toString();
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
