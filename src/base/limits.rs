//! Every bound of the broker, in one place. Each says what reaches it and what happens then.

/// A frame on the wire with its length word; beyond it the connection closes.
/// RocketMQ's `frameMaxLength` default.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A message body (`maxMessageSize`); beyond it code 13.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The text of a message's properties; beyond it code 13. The stored length is an i16.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// A topic name; retry and dead-letter topics may reach `RETRY_TOPIC_BYTES_MAX`.
pub const TOPIC_BYTES_MAX: usize = 127;
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;

/// A group name.
pub const GROUP_BYTES_MAX: usize = 120;

/// A stored record, whole: body, properties and what surrounds them.
pub const RECORD_BYTES_MAX: usize = BODY_BYTES_MAX + 64 * 1024;

/// The block of direct writes and of the footer's padding.
pub const BLOCK_BYTES: u64 = 4096;

/// One direct write of a write group.
pub const WRITE_BYTES_MAX: u64 = 512 * 1024;

/// Bounds of a segment's size, chosen when a data directory is made.
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;
pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024 * 1024;
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The file of a profile; a longer one is damaged.
pub const PROFILE_BYTES_MAX: usize = 1024 * 1024;

/// Log that one index run covers at most.
pub const INDEX_RUN_LOG_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Arena of a shard.
pub const ARENA_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
pub const ARENA_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Replies that wait for one connection whose peer does not read; beyond it no further
/// request of that connection is taken.
pub const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// Replies that lie in the log ring where its head needs room are copied, so that a slow
/// peer keeps its connection: so many bytes of one connection, and of all connections of
/// a shard together, until they are sent. Beyond either the connection is closed.
pub const COPIED_BYTES_OF_CONNECTION_MAX: usize = 8 * 1024 * 1024;
pub const COPIED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Frames that are still arriving, over all connections of a shard; a connection that
/// would exceed it is closed.
pub const CARRY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A connection without a byte in either direction is closed after this time.
/// RocketMQ's `serverChannelMaxIdleTimeSeconds` default.
pub const CONNECTION_IDLE_US: u64 = 120 * 1_000_000;

/// Memory of sent replies and handled frames that is kept for the next ones: so many
/// pieces of at most so many bytes.
pub const SPARE_BUFFERS_MAX: usize = 256;
pub const KEPT_OUTGOING_BYTES_MAX: usize = 1024 * 1024;

/// Consumer offsets (group, topic and queue) that a shard keeps; a commit on a further
/// queue is refused with code 1.
pub const CONSUMER_OFFSETS_MAX: usize = 4_000_000;

/// Pulls held at once on a shard; a further one is answered at once, as if its wait
/// had ended.
pub const HOLDS_MAX: usize = 100_000;

/// The longest time a pull is held, whatever it asks for: Java clients give up at 30 s.
pub const HOLD_MS_MAX: i64 = 25_000;

/// A client that has sent no heartbeat for this time has left its groups.
/// RocketMQ's channel expiry.
pub const MEMBER_EXPIRY_US: u64 = 120 * 1_000_000;
/// Fields of a request's header; beyond it the connection closes. Real requests stay below 25.
pub const EXT_FIELDS_MAX: usize = 48;

/// JSON headers that a shard remembers to read those alike faster, and the longest one it
/// remembers. Sends and pulls of one client have a form each; their headers stay below 700.
pub const HEADER_FORMS_MAX: usize = 4;
pub const FORM_HEADER_BYTES_MAX: usize = 1024;

/// Nesting of unknown values in a JSON header; beyond it the connection closes.
pub const HEADER_DEPTH_MAX: usize = 32;

/// The remark of a reply; beyond it the text is cut. It may repeat what a peer sent.
pub const REMARK_BYTES_MAX: usize = 4096;
/// Read or write queues of a topic; beyond it the topic is refused. RocketMQ's own
/// tools use up to 1024 (BenchmarkTest).
pub const QUEUES_OF_TOPIC_MAX: u32 = 65_536;

/// Shards of a data directory.
pub const SHARDS_MAX: u16 = 64;

/// An arena is registered with the ring as one buffer, which the kernel bounds.
pub const ARENA_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The arena's unit: a huge page.
pub const ARENA_UNIT_BYTES: u64 = 2 * 1024 * 1024;

/// Of the memory that the process may use, arenas together take at most this part.
pub const ARENA_MEMORY_DIVISOR: u64 = 8;

/// A data directory's segment takes at most this part of the free space per shard.
pub const SEGMENT_SPACE_DIVISOR: u64 = 32;

/// Jobs of one shard that its helper holds; beyond it the shard waits for one to end.
pub const HELPER_JOBS_OF_SHARD_MAX: usize = 16;

/// Metadata changes that wait for their transaction; beyond it they are refused as busy.
pub const METADATA_BACKLOG_MAX: usize = 4096;
/// Metadata changes of one transaction.
pub const METADATA_CHANGES_OF_COMMIT_MAX: usize = 1024;
/// Consecutive entries of one queue that an extent of the index holds at most: the unit
/// of a checksum and of a cold read (64 KiB). A power of two.
pub const INDEX_EXTENT_ENTRIES_MAX: u32 = 4096;

/// Runs that may wait for the helper that writes them; beyond it sends are to wait.
pub const INDEX_FROZEN_RUNS_MAX: usize = 8;

/// Memories of written runs that are kept for later runs; further ones are freed.
pub const INDEX_SPARE_RUNS_MAX: usize = 2;

/// Cold entries that a shard keeps for readers of a backlog; the least recently used
/// block goes first.
pub const INDEX_COLD_BYTES_MAX: usize = 8 * 1024 * 1024;
pub const INDEX_COLD_BLOCKS_MAX: usize = 1024;

/// A broker's compressed registration once it is inflated; beyond it the name server
/// answers code 1. Room for about a million topics.
pub const REGISTRATION_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Frames that wait on a shard, all together; a further one is refused with code 2.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a frame waits for its topic to be created (then code 1), for the log to
/// take writes again (then code 2), for a read from disk (then code 1), and for an
/// earlier change of what it changes (then code 1).
pub const TOPIC_WAIT_US_MAX: u64 = 2_000_000;
pub const ROOM_WAIT_US_MAX: u64 = 1_000_000;
pub const LOAD_WAIT_US_MAX: u64 = 10_000_000;
pub const CHANGE_WAIT_US_MAX: u64 = 10_000_000;

/// Record bytes that one turn appends; a turn ends early when it reaches half of it.
pub const TURN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long a durability that a send waits for may take; then code 10 tells that the
/// message is stored all the same. RocketMQ's `syncFlushTimeout`.
pub const ACK_WAIT_US_MAX: u64 = 5_000_000;

/// Segments of a shard that are kept open for cold reads; beyond it idle ones are closed.
pub const READABLE_SEGMENTS_MAX: usize = 64;

/// Connections that are told apart as receivers of a segment's pages; with more of them the
/// segment is not used again when it expires.
pub const SEGMENT_RECEIVERS_MAX: usize = 256;

/// What one pull may bring, whatever the options say: a reply must fit a frame.
pub const PULL_MESSAGES_MAX: u32 = 4096;
pub const PULL_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What one pull brings unless the options say otherwise; as Apache's of recent messages.
pub const PULL_BYTES: u64 = 256 * 1024;
/// Memory in which redb keeps pages; its own default is a gigabyte.
pub const METADATA_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Letters that wait for one data thread. Senders that may wait do; the helper's
/// nudges are dropped, since a full mailbox is looked at anyway.
pub const MAILBOX_LETTERS_MAX: usize = 8192;

/// A name or address in the name server's tables: a registration with a longer one is refused.
pub const NAMESRV_NAME_BYTES_MAX: usize = 255;

/// Brokers that a name server knows, each member counted; more are refused.
pub const NAMESRV_BROKERS_MAX: usize = 4096;

/// Topics of all brokers together that a name server knows; more are refused.
pub const NAMESRV_ROWS_MAX: usize = 1 << 20;

/// Filter servers of one broker.
pub const NAMESRV_FILTER_SERVERS_MAX: usize = 64;

/// Values kept at the name server: namespaces, values, the text of a namespace or key,
/// of a value, and of all together. What goes beyond is refused.
pub const NAMESRV_NAMESPACES_MAX: usize = 1024;
pub const NAMESRV_VALUES_MAX: usize = 65_536;
pub const NAMESRV_KEY_BYTES_MAX: usize = 1024;
pub const NAMESRV_VALUE_BYTES_MAX: usize = 64 * 1024;
pub const NAMESRV_VALUES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connections of the control thread; more are turned away.
pub const CONTROL_CONNECTIONS_MAX: usize = 16_384;

/// Replies gathered for one connection of the control thread before they are written.
pub const CONTROL_BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// Requests not yet whole and replies not yet taken, of all connections of the control
/// thread together; whoever needs more is disconnected.
pub const CONTROL_BUFFER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Topics of one registration request; larger tables go in several, since a frame is bounded.
pub const REGISTRATION_TOPICS_MAX: usize = 20_000;

/// Frames to and from name servers that this process holds; beyond it a link starts anew.
pub const REGISTRATION_BUFFER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Brokers whose queues `send` and `tail` use; further ones of a route are left out.
pub const CLIENT_BROKERS_MAX: usize = 256;

/// A compressed body that `tail` shows, once it is inflated; of a longer one only its
/// compressed size is told.
pub const TAIL_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Replies that wait to be printed by `tail`; beyond it no further ones are read.
pub const TAIL_REPLIES_MAX: usize = 16;
