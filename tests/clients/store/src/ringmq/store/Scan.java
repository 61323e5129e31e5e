package ringmq.store;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** A plain walk over a CommitLog, to know what Apache's store should find in it. */
final class Scan {
    private static final int MAGIC_V1 = -626843481;
    private static final int MAGIC_V2 = -626843477;
    private static final int MAGIC_BLANK = -875286124;
    private static final int SYS_FLAG_AT = 36;
    /** Prepared and rolled-back records get no queue entry. */
    private static final int TRANSACTION_BITS = 0xC;
    private static final int PREPARED = 0x4;
    private static final int ROLLBACK = 0xC;

    private Scan() {
    }

    /** How many records should be in queues. */
    static long indexedRecords(Path commitLog) throws IOException {
        List<Path> segments;
        try (Stream<Path> names = Files.list(commitLog)) {
            segments = names.filter(name -> name.getFileName().toString().matches("\\d{20}")).sorted()
                .collect(Collectors.toList());
        }
        long count = 0;
        for (Path segment : segments) {
            try (FileChannel file = FileChannel.open(segment)) {
                long inSegment = indexedRecords(file.map(FileChannel.MapMode.READ_ONLY, 0, file.size()));
                if (inSegment < 0) {
                    return count - inSegment - 1;
                }
                count += inSegment;
            }
        }
        return count;
    }

    /** The segment's count; -1 - count when the log ends in it. */
    private static long indexedRecords(ByteBuffer segment) {
        long count = 0;
        int at = 0;
        while (at + SYS_FLAG_AT + 4 <= segment.capacity()) {
            int size = segment.getInt(at);
            int magic = segment.getInt(at + 4);
            if (magic == MAGIC_BLANK) {
                return count;
            }
            if (size <= 0 || magic != MAGIC_V1 && magic != MAGIC_V2) {
                return -1 - count;
            }
            int type = segment.getInt(at + SYS_FLAG_AT) & TRANSACTION_BITS;
            if (type != PREPARED && type != ROLLBACK) {
                count++;
            }
            at += size;
        }
        return count;
    }
}
