//! Transfer strategies: where a pull's bytes leave from, who says so, and what is counted.

use ringmq::base::ConnId;
use ringmq::base::options::BrokerOptions;
use ringmq::base::transfer::{
    Fallback, FileWay, TailWay, Through, Transfer, TransferChoice, TransferRules,
};
use ringmq::wire::code::{request, response};

use crate::frames::{Ask, ask, pull, send, update_topic};
use crate::node::{Node, SMALL, Sizes};

/// Twelve messages fill a segment, and three such segments the ring three times.
const BODY: usize = 80_000;
const MESSAGES: usize = 36;

fn body(at: usize) -> String {
    format!("{at:04}{}", "x".repeat(BODY))
}

/// A log of some segments, of which the ring holds the end.
fn node() -> (Node, ConnId) {
    let mut node = Node::with(BrokerOptions::default(), Default::default(), SMALL);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    for at in 0..MESSAGES {
        node.ask(client, send("T", 0, body(at))).expect(response::SUCCESS);
    }
    (node, client)
}

fn one(at: usize) -> Ask {
    pull("g", "T", 0, at as i64).with("maxMsgNums", 1)
}

/// Every message, each by its own pull that asks for a strategy.
fn read_all(node: &mut Node, client: ConnId, choice: &str) {
    for at in 0..MESSAGES {
        let read = node.ask(client, one(at).with("ringmq.transfer", choice));
        assert_eq!(read.expect(response::SUCCESS).messages(), [body(at)], "{choice} {at}");
    }
    assert_eq!(node.page_cache.pins(), 0, "{choice}: what was sent is given back");
}

fn moved(node: &Node, transfer: Transfer) -> u64 {
    node.shard.store.transfers().of(transfer).bytes
}

fn fallbacks(node: &Node, reason: Fallback) -> u64 {
    node.shard.store.transfers().fallbacks(reason)
}

#[test]
fn every_strategy_brings_every_message_and_counts_its_bytes() {
    for choice in TransferChoice::all() {
        let (mut node, client) = node();
        read_all(&mut node, client, choice.name());
        read_all(&mut node, client, choice.name());
        if let TransferChoice::Fixed(transfer) = choice {
            assert!(moved(&node, transfer) > 0, "{choice}");
        }
        let all: u64 = Transfer::ALL.map(|transfer| moved(&node, transfer)).iter().sum();
        assert!(all > (2 * MESSAGES * BODY) as u64, "{choice}: {all}");
    }
}

#[test]
fn what_is_still_being_written_past_the_page_cache_is_never_read_through_it() {
    for choice in ["mmap", "sendfile", "splice", "copy"] {
        let (mut node, client) = node();
        read_all(&mut node, client, choice);
        let written = node.shard.store.watermarks().written();
        let cached = node.page_cache.blocks.last().copied().unwrap();
        let end = cached + crate::memory::SLOT_BYTES as u64;
        assert!(end <= written.0, "{choice}: {cached}..{end}, and {written} is written");
        // A copy is made from the ring as well.
        let falls_back = fallbacks(&node, Fallback::TailNotInPageCache) > 0;
        assert_eq!(falls_back, choice != "copy", "{choice}");
    }
}

#[test]
fn writes_through_the_page_cache_let_the_tail_leave_from_there() {
    let (mut node, client) = node();
    node.shard.store.set_writes_through(Through::PageCache);
    let written = node.shard.store.watermarks().written();
    for block in (0..written.0).step_by(crate::memory::SLOT_BYTES) {
        node.page_cache.keep(ringmq::base::LogOffset(block));
    }
    read_all(&mut node, client, "sendfile");
    assert_eq!(fallbacks(&node, Fallback::NotResident), 0);
    assert_eq!(node.shard.store.transfers().residency_misses, 0);
    assert!(moved(&node, Transfer::Sendfile) > ((MESSAGES - 2) * BODY) as u64);
}

#[test]
fn a_page_cache_that_forgets_at_once_delays_nobody() {
    for choice in ["mmap", "sendfile", "splice", "copy", "auto"] {
        let (mut node, client) = node();
        node.page_cache.forgets = true;
        read_all(&mut node, client, choice);
        assert!(moved(&node, Transfer::Direct) + moved(&node, Transfer::Copy) > 0, "{choice}");
        assert!(node.shard.store.transfers().residency_misses > 0);
    }
}

#[test]
fn a_backlog_that_one_group_has_read_is_in_the_page_cache_for_the_next() {
    let (mut node, client) = node();
    read_all(&mut node, client, "copy");
    let misses = node.shard.store.transfers().residency_misses;
    read_all(&mut node, client, "sendfile");
    assert_eq!(node.shard.store.transfers().residency_misses, misses);
    assert!(moved(&node, Transfer::Sendfile) > (MESSAGES / 3 * BODY) as u64);
}

#[test]
fn pages_that_leave_between_the_look_and_the_copy_go_by_sendfile() {
    let (mut node, client) = node();
    read_all(&mut node, client, "copy");
    node.page_cache.leaves = true;
    read_all(&mut node, client, "copy");
    assert!(fallbacks(&node, Fallback::NotResident) > 0);
}

#[test]
fn the_request_overrules_the_topic_and_the_topic_the_broker() {
    let (mut node, client) = node();
    let counted = |node: &mut Node, ask: Ask, transfer| {
        let before = moved(node, transfer);
        node.ask(client, ask).expect(response::SUCCESS);
        moved(node, transfer) > before
    };
    let last = MESSAGES - 1;
    assert!(counted(&mut node, one(last), Transfer::Gather));
    let set = ask(request::UPDATE_BROKER_CONFIG).body("ringmqTransfer=copy");
    node.ask(client, set).expect(response::SUCCESS);
    assert!(counted(&mut node, one(last), Transfer::Copy));
    let topic = update_topic("T", 1).with("attributes", "+ringmq.transfer=send-zc");
    node.ask(client, topic).expect(response::SUCCESS);
    assert!(counted(&mut node, one(last), Transfer::SendZc));
    let asked = one(last).with("ringmq.transfer", "gather");
    assert!(counted(&mut node, asked, Transfer::Gather));
}

#[test]
fn an_unknown_strategy_is_refused_with_those_that_there_are() {
    let (mut node, client) = node();
    let refused = node.ask(client, one(0).with("ringmq.transfer", "teleport"));
    let remark = refused.expect(response::INVALID_PARAMETER).remark().to_owned();
    assert!(remark.contains(TransferChoice::NAMES), "{remark}");
    let topic = update_topic("T", 1).with("attributes", "+ringmq.transfer=teleport");
    let remark = node.ask(client, topic).remark().to_owned();
    assert!(remark.contains(TransferChoice::NAMES), "{remark}");
    let set = ask(request::UPDATE_BROKER_CONFIG).body("ringmqTransfer=teleport");
    let remark = node.ask(client, set).remark().to_owned();
    assert!(remark.contains(TransferChoice::NAMES), "{remark}");
}

#[test]
fn auto_follows_its_rules_by_place_and_size() {
    let (mut node, client) = node();
    let rules = TransferRules {
        tail: [TailWay::Copy; 6],
        hot: [FileWay::Splice; 6],
        cold: Through::PageCache,
    };
    node.shard.store.set_transfer_rules(rules);
    read_all(&mut node, client, "auto");
    assert!(moved(&node, Transfer::Copy) > 0 && moved(&node, Transfer::Splice) > 0);
    assert_eq!(moved(&node, Transfer::Gather), 0);
    assert!(Fallback::ALL.iter().all(|reason| fallbacks(&node, *reason) == 0));

    let (mut node, client) = self::node();
    node.shard.store.set_transfer_rules(TransferRules { cold: Through::Direct, ..rules });
    read_all(&mut node, client, "auto");
    assert_eq!(moved(&node, Transfer::Splice), 0, "nothing came into the page cache");
    assert!(node.page_cache.blocks.is_empty());
}

#[test]
fn auto_passes_over_what_rots_in_the_page_cache() {
    let (mut node, client) = node();
    read_all(&mut node, client, "auto");
    let segment = node.disk.segments.get_mut(&0).unwrap();
    let third = body(3).into_bytes();
    let at = segment.windows(third.len()).position(|bytes| bytes == third).unwrap();
    segment[at + 50_000] ^= 4;
    for (asked, next) in [(2, 3), (3, 5)] {
        let read = node.ask(client, one(asked).with("ringmq.transfer", "auto"));
        let read = read.expect(response::SUCCESS);
        assert!(read.messages() == [body(next as usize - 1)], "asked for {asked}");
        assert_eq!(read.number("nextBeginOffset"), next);
    }
    assert_eq!(node.page_cache.pins(), 0);
}

#[test]
fn a_reader_that_stops_keeps_its_segments_open_until_it_goes() {
    let (mut node, client) = node();
    read_all(&mut node, client, "sendfile");
    let slow = node.connect();
    node.stall(slow);
    node.send(slow, &one(0).with("ringmq.transfer", "sendfile"));
    node.send(slow, &one(1).with("ringmq.transfer", "sendfile"));
    assert_eq!(node.page_cache.pins(), 2);
    node.hang_up(slow);
    node.turn();
    assert_eq!(node.page_cache.pins(), 0);
}

#[test]
fn a_small_machine_has_the_same_strategies() {
    let sizes = Sizes { memory: 1 << 20, ..SMALL };
    let mut node = Node::with(BrokerOptions::default(), Default::default(), sizes);
    let client = node.connect();
    node.ask(client, update_topic("T", 1)).expect(response::SUCCESS);
    node.ask(client, send("T", 0, "only")).expect(response::SUCCESS);
    for choice in TransferChoice::all() {
        let read = node.ask(client, one(0).with("ringmq.transfer", choice.name()));
        assert_eq!(read.expect(response::SUCCESS).messages(), ["only"], "{choice}");
    }
}
