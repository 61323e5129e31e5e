//! The data directory, its file system and the disks below.

use super::super::facts::{DirectWrites, DiskFacts, Fact, Facts, MountFacts};
use super::{Check, Finding, told};
use crate::base::AckLevel;
use crate::base::limits::BLOCK_BYTES;

pub fn data_directory(facts: &Facts) -> Finding {
    const CHECK: Check =
        Check { name: "data-directory", why: "Everything that must last lies there." };
    let directory = &facts.directory;
    let path = directory.path.display();
    if let Some(why) = &directory.refused {
        return CHECK.cannot_run(why, "do what it says, or choose another --data-dir");
    }
    CHECK.of(&directory.writable, |writable| {
        let existing = directory.existing.display();
        if !writable {
            return CHECK.cannot_run(
                format!("this user may not write to {existing}"),
                format!("sudo install -d -o $(id -un) -g $(id -gn) {path}"),
            );
        }
        match directory.existing == directory.path {
            true => CHECK.ok(format!("{path}, writable")),
            false => CHECK.ok(format!("{path} can be made in {existing}")),
        }
    })
}

pub fn free_space(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "free-space",
        why: "From --disk-refuse-at on sends are refused, so that the disk never runs full.",
    };
    CHECK.of(&facts.directory.disk_use, |disk| {
        let percent = disk.basis_points.div_ceil(100);
        let found = format!("{} free, {percent} % used", told(disk.available));
        if percent >= u64::from(disk.refuse_at) {
            let full = format!("{found}, and sends are refused from {} %", disk.refuse_at);
            return CHECK.untuned(full, "free space there, or lower --retention-hours");
        }
        CHECK.ok(found)
    })
}

pub fn direct_writes(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "direct-writes",
        why: "A durable 4 KiB write took 115 µs directly and in place, 281 µs through the page \
              cache.",
    };
    CHECK.of(&facts.directory.direct, |direct| match direct {
        DirectWrites::InPlace => CHECK.ok("O_DIRECT writes of 4 KiB work, in place"),
        DirectWrites::Missing(reason) => {
            CHECK.untuned(*reason, "choose a --data-dir on ext4 or xfs")
        }
    })
}

pub fn file_system(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "file-system",
        why: "Durable writes in place were measured on ext4; xfs writes in place as well. \
              Others copy, compress or stack.",
    };
    CHECK.of(&facts.mount, |mount| {
        let found = format!("{} at {}", mount.kind, mount.point);
        let other = "choose a --data-dir on ext4 or xfs";
        match mount.kind.as_str() {
            "ext4" | "xfs" => CHECK.ok(found),
            "tmpfs" | "ramfs" => {
                CHECK.untuned(format!("{found}: memory, which a power cut empties"), other)
            }
            "overlay" => CHECK.untuned(
                format!("{found}: a container's layer"),
                "mount a volume of ext4 or xfs there (docker: -v /srv/ringmq:DIR)",
            ),
            _ => CHECK.untuned(found, other),
        }
    })
}

pub fn mount_options(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "mount-options",
        why: "Barriers make a flush reach the media; journaled data, synchronous mounts and \
              times of every read are extra writes.",
    };
    CHECK.of(&facts.mount, |mount| {
        let has = |option: &str| mount.options.iter().any(|found| found == option);
        let remount = |option: &str| format!("sudo mount -o remount,{option} {}", mount.point);
        if has("ro") {
            return CHECK.cannot_run("read-only", remount("rw"));
        }
        if let Some(off) = ["nobarrier", "barrier=0"].into_iter().find(|option| has(option)) {
            let found = format!("{off}: nothing is durable at a power cut");
            return CHECK.untuned(found, remount("barrier=1"));
        }
        if has("data=journal") {
            let fix = format!("data=ordered for {} in /etc/fstab, then mount it anew", mount.point);
            return CHECK.untuned("data=journal: every byte is written twice", fix);
        }
        if has("sync") {
            return CHECK.untuned("sync: every write waits for the media", remount("async"));
        }
        if !has("relatime") && !has("noatime") {
            return CHECK.untuned("strictatime: every read is a write", remount("noatime"));
        }
        CHECK.ok(shown(mount))
    })
}

fn shown(mount: &MountFacts) -> String {
    let mut options: Vec<&str> = Vec::new();
    for option in &mount.options {
        if !options.contains(&option.as_str()) {
            options.push(option);
        }
    }
    options.join(",")
}

pub fn alignment(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "alignment",
        why: "Blocks of 4 KiB that lie across the device's own are read, changed and written \
              back.",
    };
    of_disks(&CHECK, facts, |disk| {
        let name = &disk.name;
        CHECK.of(&disk.logical_block_bytes, |block| {
            if *block > BLOCK_BYTES {
                let found = format!("{name} has blocks of {block} bytes, larger than 4096");
                return CHECK.untuned(found, "choose a --data-dir on a disk with smaller ones");
            }
            CHECK.of(&disk.start_bytes, |start| match start % BLOCK_BYTES {
                0 => CHECK.ok(format!("{name}: blocks of {block}, aligned to 4096")),
                odd => CHECK.untuned(
                    format!("the partition begins {odd} bytes into a block of {name}"),
                    "partition the disk anew, at multiples of 1 MiB (parted -a optimal)",
                ),
            })
        })
    })
}

pub fn scheduler(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "io-scheduler",
        why: "The broker orders its own writes; a scheduler between adds a lock and a wait to \
              each.",
    };
    of_disks(&CHECK, facts, |disk| {
        let name = &disk.name;
        CHECK.of(&disk.scheduler, |scheduler| match scheduler.as_str() {
            "none" => CHECK.ok(format!("none on {name}")),
            // One that knows how to seek; only a real one has a use for it.
            "mq-deadline" if disk.rotational == Ok(true) && !is_virtual(name) => {
                CHECK.ok(format!("mq-deadline on {name}, which turns"))
            }
            other => CHECK.untuned(
                format!("{other} on {name}"),
                format!("echo none | sudo tee /sys/block/{name}/queue/scheduler"),
            ),
        })
    })
}

pub fn write_cache(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "write-cache",
        why: "What a volatile cache holds is durable only after FUA or a flush of all of it; \
              --ack written trusts it for 500 ms.",
    };
    of_disks(&CHECK, facts, |disk| {
        let name = &disk.name;
        CHECK.of(&disk.write_cache, |cache| {
            if cache == "write through" {
                return CHECK.ok(format!("{name} has no volatile cache"));
            }
            CHECK.of(&disk.fua, |fua| match (fua, facts.wanted.ack) {
                (true, _) => CHECK.ok(format!("{name}: {cache}, with FUA")),
                (false, AckLevel::Flushed) => CHECK.untuned(
                    format!("{name}: {cache}, without FUA: each durable write empties the cache"),
                    "give --ack flushed a disk with power-loss protection",
                ),
                (false, _) => CHECK.ok(format!("{name}: {cache}, without FUA")),
            })
        })
    })
}

pub fn rotational(facts: &Facts) -> Finding {
    const CHECK: Check = Check {
        name: "rotational",
        why: "The kernel schedules and reads ahead otherwise for a disk that turns; cold reads \
              of one are milliseconds.",
    };
    of_disks(&CHECK, facts, |disk| {
        let name = &disk.name;
        CHECK.of(&disk.rotational, |turns| match turns {
            false => CHECK.ok(format!("{name} does not turn")),
            true if is_virtual(name) => CHECK.untuned(
                format!("{name} says that it turns, as virtual disks on flash often do"),
                format!("echo 0 | sudo tee /sys/block/{name}/queue/rotational"),
            ),
            true => CHECK.untuned(format!("{name} turns"), "choose a --data-dir on flash"),
        })
    })
}

/// Disks of virtio and Xen: whoever is behind them schedules for itself.
fn is_virtual(name: &str) -> bool {
    name.starts_with("vd") || name.starts_with("xvd")
}

/// A rule over all disks: the first that is not in order, else the first.
fn of_disks(check: &Check, facts: &Facts, rule: impl Fn(&DiskFacts) -> Finding) -> Finding {
    let disks: &Fact<Vec<DiskFacts>> = &facts.disks;
    check.of(disks, |disks| {
        let mut findings: Vec<_> = disks.iter().map(rule).collect();
        // Stable: of equals the first stays in front.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.state.gravity()));
        let first = findings.into_iter().next();
        first.unwrap_or_else(|| check.unknown("no disk was found below the file system"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::facts::DiskUse;
    use super::super::State;
    use super::super::tests::judged;
    use super::*;

    fn disk(facts: &mut Facts) -> &mut DiskFacts {
        &mut facts.disks.as_mut().unwrap()[0]
    }

    #[test]
    fn a_directory_that_a_start_would_refuse_or_not_write_cannot_be_run_on() {
        let refused = |facts: &mut Facts| {
            facts.directory.refused = Some("/d was written in format 2".to_owned());
        };
        assert_eq!(judged(data_directory, refused).0, State::CannotRun);
        let (state, text) = judged(data_directory, |facts| facts.directory.writable = Ok(false));
        assert_eq!(state, State::CannotRun);
        assert!(text.contains("install -d") && text.ends_with("/data/ringmq"), "{text}");
        let (state, text) = judged(data_directory, |facts| {
            facts.directory.existing = "/data".into();
        });
        assert_eq!(state, State::Ok);
        assert!(text.starts_with("/data/ringmq can be made in /data"), "{text}");
    }

    #[test]
    fn a_disk_is_full_where_sends_would_be_refused() {
        let at = |basis_points| {
            let disk_use = DiskUse { available: 1 << 30, basis_points, refuse_at: 90 };
            judged(free_space, |facts| facts.directory.disk_use = Ok(disk_use)).0
        };
        assert_eq!(at(8_900), State::Ok);
        assert_eq!(at(8_901), State::Untuned);
    }

    #[test]
    fn without_direct_writes_the_reason_is_told() {
        let missing = DirectWrites::Missing("btrfs copies on every write");
        let (state, text) = judged(direct_writes, |facts| facts.directory.direct = Ok(missing));
        assert_eq!(state, State::Untuned);
        assert!(text.starts_with("btrfs"), "{text}");
    }

    #[test]
    fn file_systems_are_known_by_name() {
        for (kind, state) in [
            ("ext4", State::Ok),
            ("xfs", State::Ok),
            ("btrfs", State::Untuned),
            ("overlay", State::Untuned),
            ("tmpfs", State::Untuned),
            ("fuse.sshfs", State::Untuned),
        ] {
            let set = |facts: &mut Facts| facts.mount.as_mut().unwrap().kind = kind.to_owned();
            assert_eq!(judged(file_system, set).0, state, "{kind}");
        }
    }

    #[test]
    fn options_that_cost_writes_or_durability_are_found() {
        for (options, state, part) in [
            ("rw,relatime", State::Ok, "rw,relatime"),
            ("rw,noatime,rw,discard", State::Ok, "rw,noatime,discard |"),
            ("rw", State::Untuned, "remount,noatime /data"),
            ("rw,relatime,barrier=0", State::Untuned, "barrier=1"),
            ("rw,relatime,nobarrier", State::Untuned, "barrier=1"),
            ("rw,relatime,data=journal", State::Untuned, "fstab"),
            ("rw,relatime,sync", State::Untuned, "async"),
            ("ro,relatime", State::CannotRun, "remount,rw"),
        ] {
            let (found, text) = judged(mount_options, |facts| {
                let options = options.split(',').map(str::to_owned).collect();
                facts.mount.as_mut().unwrap().options = options;
            });
            assert_eq!(found, state, "{options}");
            assert!(text.contains(part), "{options}: {text}");
        }
    }

    #[test]
    fn blocks_must_fit_and_begin_where_the_disks_do() {
        let (state, _) = judged(alignment, |f| disk(f).logical_block_bytes = Ok(16_384));
        assert_eq!(state, State::Untuned);
        assert_eq!(judged(alignment, |f| disk(f).start_bytes = Ok(32_256)).0, State::Untuned);
        assert_eq!(judged(alignment, |f| disk(f).start_bytes = Ok(0)).0, State::Ok);
    }

    #[test]
    fn a_scheduler_is_for_disks_that_turn() {
        let at = |name: &str, scheduler: &str, turns| {
            judged(super::scheduler, |facts| {
                disk(facts).name = name.to_owned();
                disk(facts).scheduler = Ok(scheduler.to_owned());
                disk(facts).rotational = Ok(turns);
            })
            .0
        };
        assert_eq!(at("sda", "none", true), State::Ok);
        assert_eq!(at("sda", "mq-deadline", true), State::Ok);
        assert_eq!(at("vda", "mq-deadline", true), State::Untuned);
        assert_eq!(at("nvme0n1", "mq-deadline", false), State::Untuned);
        assert_eq!(at("sda", "bfq", true), State::Untuned);
    }

    #[test]
    fn a_volatile_cache_without_fua_matters_to_flushed_alone() {
        let at = |cache: &str, fua, ack| {
            judged(write_cache, |facts| {
                disk(facts).write_cache = Ok(cache.to_owned());
                disk(facts).fua = Ok(fua);
                facts.wanted.ack = ack;
            })
            .0
        };
        assert_eq!(at("write through", false, AckLevel::Flushed), State::Ok);
        assert_eq!(at("write back", true, AckLevel::Flushed), State::Ok);
        assert_eq!(at("write back", false, AckLevel::Flushed), State::Untuned);
        assert_eq!(at("write back", false, AckLevel::Appended), State::Ok);
    }

    #[test]
    fn the_disk_that_is_not_in_order_is_told_among_several() {
        let (state, text) = judged(rotational, |facts| {
            let mut second = Facts::tuned().disks.unwrap().remove(0);
            (second.name, second.rotational) = ("sdb".to_owned(), Ok(true));
            facts.disks.as_mut().unwrap().push(second);
        });
        assert_eq!(state, State::Untuned);
        assert!(text.starts_with("sdb turns"), "{text}");
        let (_, text) = judged(rotational, |facts| {
            (disk(facts).name, disk(facts).rotational) = ("vdb".to_owned(), Ok(true));
        });
        assert!(text.ends_with("tee /sys/block/vdb/queue/rotational"), "{text}");
        assert_eq!(judged(rotational, |facts| facts.disks = Ok(Vec::new())).0, State::Unknown);
    }
}
