//! Where the arenas lie, and who else walks through the memory.

use super::super::facts::{DirectWrites, Facts, HugePages};
use super::{Check, Finding, told};

/// Beyond this a background write-back holds up the flushes of a buffered log.
const DIRTY_BACKGROUND_MAX: u64 = 1 << 30;

/// What all arenas take in pages of this size: each begins its log at a page of its own.
fn arenas_in_pages(facts: &Facts, page_bytes: u64) -> u64 {
    let each = facts.wanted.arena_bytes.div_ceil(page_bytes).saturating_add(1);
    u64::from(facts.wanted.shards).saturating_mul(each).saturating_mul(page_bytes)
}

/// Whether the arenas will lie in reserved huge pages.
fn huge_pages_suffice(facts: &Facts) -> bool {
    matches!(&facts.memory.huge, Ok(Some(huge)) if huge.writable && suffice(huge, facts))
}

fn suffice(huge: &HugePages, facts: &Facts) -> bool {
    let room = huge.free_pages.saturating_mul(huge.page_bytes).saturating_add(huge.held_bytes);
    room >= arenas_in_pages(facts, huge.page_bytes)
}

pub fn shared_memory(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "shared-memory",
        why: "Without an arena that outlives the process, sends are acknowledged only when \
              they are written.",
    };
    let shared = &facts.memory.shared;
    if huge_pages_suffice(facts) {
        return CHECK.ok("the arenas lie in reserved huge pages");
    }
    // Small pages, and the log begins where a transparent huge page may begin.
    let needed = arenas_in_pages(facts, 2 << 20);
    CHECK.of(&shared.available, |available| {
        let room = available.saturating_add(shared.held_bytes);
        let place = shared.path.display();
        if room >= needed {
            return CHECK.ok(format!("{} in {place}, and {} are needed", told(room), told(needed)));
        }
        CHECK.untuned(
            format!("{} in {place}, and {} are needed", told(room), told(needed)),
            format!(
                "sudo mount -o remount,size={}M {place}   (docker: --shm-size), or a smaller \
                 --arena",
                2 * (needed >> 20)
            ),
        )
    })
}

pub fn huge_pages(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "huge-pages",
        why: "A 512 KiB direct write out of an arena ran at 4.1 GB/s from reserved huge pages, \
              at 2.7 from small ones (kernel 6.18).",
    };
    let needed = |page_bytes| arenas_in_pages(facts, page_bytes).div_ceil(page_bytes);
    let reserve = format!(
        "sudo sysctl -w vm.nr_hugepages={}, and a hugetlbfs that this user may write to: \
         sudo mount -t hugetlbfs -o uid=$(id -u),mode=0700 none DIR, then --arena-dir DIR",
        needed(2 << 20)
    );
    CHECK.of(&facts.memory.huge, |huge| {
        let Some(huge) = huge else {
            return CHECK.untuned("no hugetlbfs is in use for the arenas", reserve);
        };
        let (mount, needed) = (huge.mount.display(), needed(huge.page_bytes));
        let found = format!(
            "{} of {} pages of {} free in {mount}, and {needed} are needed",
            huge.free_pages,
            huge.pages,
            told(huge.page_bytes)
        );
        if !huge.writable {
            return CHECK.untuned(format!("this user may not write to {mount}"), reserve);
        }
        if suffice(huge, facts) {
            return CHECK.ok(found);
        }
        let short = needed.saturating_sub(huge.free_pages);
        let pages = huge.pages.saturating_add(short);
        let pool = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", huge.page_bytes >> 10);
        CHECK.untuned(found, format!("echo {pages} | sudo tee {pool}/nr_hugepages"))
    })
}

pub fn transparent_huge_pages(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "transparent-huge-pages",
        why: "An arena in plain shared memory asks for huge pages, where shmem_enabled lets it.",
    };
    if huge_pages_suffice(facts) {
        return CHECK.ok("the arenas lie in reserved huge pages");
    }
    CHECK.of(&facts.memory.shmem_huge, |word| match word.as_deref() {
        Some(word @ ("never" | "deny")) => CHECK.untuned(
            format!("shmem_enabled is {word}"),
            "echo advise | sudo tee /sys/kernel/mm/transparent_hugepage/shmem_enabled",
        ),
        Some(word) => CHECK.ok(format!("shmem_enabled is {word}")),
        None => CHECK.ok("this kernel has none; reserved huge pages do without"),
    })
}

pub fn monitor(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "memory-monitor",
        why: "kdamond (DAMON) took the core from a data thread for 2 to 4 ms, twice a second.",
    };
    CHECK.of(&facts.memory.monitors, |monitors| {
        if monitors.is_empty() {
            return CHECK.ok("no kernel thread watches the memory");
        }
        CHECK.untuned(
            format!("{} is running", monitors.join(", ")),
            "sudo tuning/tune apply damon   (unless something on this machine needs it)",
        )
    })
}

pub fn dirty_pages(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "dirty-pages",
        why: "A log in the page cache is flushed behind whatever else the kernel writes back.",
    };
    CHECK.of(&facts.memory.dirty_background_bytes, |bytes| {
        let found = format!("write-back begins at {}", told(*bytes));
        if *bytes <= DIRTY_BACKGROUND_MAX {
            return CHECK.ok(found);
        }
        match facts.directory.direct {
            Ok(DirectWrites::InPlace) if !facts.wanted.write.is_cached() => {
                CHECK.ok(format!("{found}; the log passes the page cache by"))
            }
            _ => CHECK.untuned(found, "sudo sysctl -w vm.dirty_background_bytes=67108864"),
        }
    })
}

pub fn numa(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "numa",
        why: "NUMA balancing unmaps pages to see who uses them, and data threads meet the \
              faults; they are pinned, so it can win nothing.",
    };
    CHECK.of(&facts.memory.nodes, |nodes| {
        if *nodes <= 1 {
            return CHECK.ok("one node");
        }
        CHECK.of(&facts.memory.numa_balancing, |balancing| match balancing {
            None | Some(0) => CHECK.ok(format!("{nodes} nodes, no balancing")),
            Some(_) => CHECK.untuned(
                format!("{nodes} nodes with balancing"),
                "sudo sysctl -w kernel.numa_balancing=0",
            ),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::judged;
    use super::*;
    use crate::base::WriteMode;

    fn without_huge(facts: &mut Facts) {
        facts.memory.huge = Ok(None);
    }

    #[test]
    fn arenas_need_room_where_no_huge_pages_are() {
        // Two of 64 MiB, and a huge page each for the log to begin at one.
        let at = |available, held| {
            judged(shared_memory, |facts| {
                without_huge(facts);
                facts.memory.shared.available = Ok(available);
                facts.memory.shared.held_bytes = held;
            })
        };
        assert_eq!(at(132 << 20, 0).0, State::Ok);
        assert_eq!(at((132 << 20) - 1, 0).0, State::Untuned);
        assert_eq!(at(0, 132 << 20).0, State::Ok, "a running broker's own arenas");
        assert!(at(64 << 20, 0).1.contains("size=264M /dev/shm"));
        assert_eq!(judged(shared_memory, |f| f.memory.shared.available = Ok(0)).0, State::Ok);
    }

    #[test]
    fn huge_pages_are_counted_with_those_that_a_running_broker_holds() {
        let at = |change: fn(&mut HugePages)| {
            judged(huge_pages, |facts| {
                let mut huge = facts.memory.huge.clone().unwrap().unwrap();
                change(&mut huge);
                facts.memory.huge = Ok(Some(huge));
            })
        };
        assert_eq!(at(|huge| huge.free_pages = 66).0, State::Ok);
        let (state, text) = at(|huge| huge.free_pages = 60);
        assert_eq!(state, State::Untuned);
        assert!(text.contains("echo 134 | sudo tee"), "{text}");
        assert!(text.contains("hugepages-2048kB/nr_hugepages"), "{text}");
        assert_eq!(at(|huge| (huge.free_pages, huge.held_bytes) = (0, 132 << 20)).0, State::Ok);
        assert_eq!(at(|huge| huge.writable = false).0, State::Untuned);
        assert_eq!(at(|huge| huge.page_bytes = 1 << 30).0, State::Ok);
        assert_eq!(at(|huge| huge.free_pages = u64::MAX).0, State::Ok, "no overflow");
        let (state, text) = judged(huge_pages, without_huge);
        assert_eq!(state, State::Untuned);
        assert!(text.contains("vm.nr_hugepages=66"), "{text}");
    }

    #[test]
    fn transparent_huge_pages_matter_where_reserved_ones_are_missing() {
        let at = |word: Option<&str>| {
            judged(transparent_huge_pages, |facts| {
                without_huge(facts);
                facts.memory.shmem_huge = Ok(word.map(str::to_owned));
            })
        };
        for (word, state) in [
            (Some("always"), State::Ok),
            (Some("within_size"), State::Ok),
            (Some("advise"), State::Ok),
            (Some("never"), State::Untuned),
            (Some("deny"), State::Untuned),
            (None, State::Ok),
        ] {
            assert_eq!(at(word).0, state, "{word:?}");
        }
        let never = |facts: &mut Facts| facts.memory.shmem_huge = Ok(Some("never".to_owned()));
        assert_eq!(judged(transparent_huge_pages, never).0, State::Ok);
    }

    #[test]
    fn a_memory_monitor_is_named() {
        let (state, text) =
            judged(monitor, |facts| facts.memory.monitors = Ok(vec!["kdamond.0".to_owned()]));
        assert_eq!(state, State::Untuned);
        assert!(text.starts_with("kdamond.0 is running"), "{text}");
    }

    #[test]
    fn dirty_pages_matter_where_the_log_is_among_them() {
        let at = |bytes, direct, write| {
            judged(dirty_pages, |facts| {
                facts.memory.dirty_background_bytes = Ok(bytes);
                facts.directory.direct = Ok(direct);
                facts.wanted.write = write;
            })
            .0
        };
        let missing = DirectWrites::Missing("the file system refuses O_DIRECT");
        assert_eq!(at(2 << 30, DirectWrites::InPlace, WriteMode::Direct), State::Ok);
        assert_eq!(at(2 << 30, DirectWrites::InPlace, WriteMode::Mmap), State::Untuned);
        assert_eq!(at(2 << 30, missing, WriteMode::Direct), State::Untuned);
        assert_eq!(at(1 << 30, missing, WriteMode::Buffered), State::Ok);
    }

    #[test]
    fn balancing_matters_between_several_nodes() {
        let at = |nodes, balancing| {
            judged(numa, |facts| {
                facts.memory.nodes = Ok(nodes);
                facts.memory.numa_balancing = Ok(balancing);
            })
            .0
        };
        assert_eq!(at(1, Some(1)), State::Ok);
        assert_eq!(at(2, Some(1)), State::Untuned);
        assert_eq!(at(2, Some(0)), State::Ok);
        assert_eq!(at(2, None), State::Ok);
    }
}
