//! `tuning/tune` on made-up machines: what it writes is compared byte by byte. It never gets
//! to see the real one, as every call here has a `--root`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const SETTINGS: [&str; 11] = [
    "io_uring",
    "limits",
    "huge_pages",
    "shmem",
    "scheduler",
    "governor",
    "damon",
    "net",
    "dirty",
    "numa",
    "irq",
];

/// What a machine has before, and after everything was applied; files that are not named
/// stay as they are.
const FILES: [(&str, &str, &str); 27] = [
    ("proc/sys/kernel/io_uring_disabled", "2\n", "0\n"),
    ("proc/sys/kernel/numa_balancing", "1\n", "0\n"),
    ("proc/sys/net/core/somaxconn", "128\n", "4096\n"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t33554432\n", "4096\t131072\t33554432\n"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n", "4096\t16384\t16777216\n"),
    ("proc/sys/vm/dirty_background_bytes", "0\n", "67108864\n"),
    ("proc/sys/vm/dirty_background_ratio", "10\n", "10\n"),
    ("proc/sys/vm/dirty_bytes", "0\n", "1073741824\n"),
    ("proc/sys/vm/dirty_ratio", "20\n", "20\n"),
    ("proc/meminfo", "MemTotal:       16777216 kB\n", "MemTotal:       16777216 kB\n"),
    ("proc/irq/24/smp_affinity_list", "0-7\n", "0-1,6-7\n"),
    ("proc/irq/25/smp_affinity_list", "3\n", "0-1,6-7\n"),
    ("proc/irq/26/smp_affinity_list", "0,7\n", "0,7\n"),
    ("sys/devices/system/cpu/online", "0-7\n", "0-7\n"),
    ("sys/devices/system/node/online", "0-1\n", "0-1\n"),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "7\n", "136\n"),
    ("sys/kernel/mm/damon/admin/kdamonds/0/state", "on\n", "off\n"),
    ("sys/kernel/mm/damon/admin/kdamonds/1/state", "off\n", "off\n"),
    ("sys/module/damon_reclaim/parameters/enabled", "Y\n", "N\n"),
    ("sys/block/nvme0n1/queue/rotational", "0\n", "0\n"),
    ("sys/block/sda/queue/rotational", "1\n", "1\n"),
    ("sys/block/vda/queue/rotational", "1\n", "1\n"),
    ("sys/block/sda/queue/scheduler", "none [bfq]\n", "none [bfq]\n"),
    ("sys/block/loop0/queue/scheduler", "none [bfq]\n", "none [bfq]\n"),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n", "performance\n"),
    ("sys/devices/system/cpu/cpu7/cpufreq/scaling_governor", "powersave\n", "powersave\n"),
    (
        "sys/devices/system/cpu/cpu2/cpufreq/scaling_available_governors",
        "performance powersave \n",
        "performance powersave \n",
    ),
];

/// Files in which the kernel shows its choices and takes a word: before, and what is
/// written by `apply` and by `revert`.
const CHOICES: [(&str, &str, &str, &str); 3] = [
    (
        "sys/kernel/mm/transparent_hugepage/shmem_enabled",
        "always within_size advise [never] deny force\n",
        "advise\n",
        "never\n",
    ),
    ("sys/block/nvme0n1/queue/scheduler", "[mq-deadline] kyber none\n", "none\n", "mq-deadline\n"),
    ("sys/block/vda/queue/scheduler", "none [mq-deadline]\n", "none\n", "mq-deadline\n"),
];

const LIMITS: &str = "etc/security/limits.d/90-ringmq.conf";
const ALL: [&str; 7] = ["--buffered", "--data-cores", "2-5", "--shards", "4", "--arena", "65"];

struct Made(TempDir);

/// What a call said, and its exit code.
struct Said {
    text: String,
    code: i32,
}

impl Made {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn new() -> Self {
        let made = Self::empty();
        for (path, before, _) in FILES {
            made.write(path, before);
        }
        for (path, before, _, _) in CHOICES {
            made.write(path, before);
        }
        for disk in ["nvme0n1", "sda", "vda"] {
            fs::create_dir_all(made.root().join(format!("sys/block/{disk}/device"))).unwrap();
        }
        fs::create_dir_all(made.root().join(LIMITS).parent().unwrap()).unwrap();
        made
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn state(&self) -> PathBuf {
        self.root().join("var/lib/ringmq-tuning/state")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn tune(&self, args: &[&str]) -> Said {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/tune");
        let mut command = Command::new(script);
        command.arg("--root").arg(self.root()).args(args).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        Said { text, code: status.code().unwrap() }
    }

    #[track_caller]
    fn tuned(&self, args: &[&str]) -> String {
        let Said { text, code } = self.tune(args);
        assert_eq!(code, 0, "{args:?}: {text}");
        text
    }

    /// Every file and its bytes.
    fn all(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut folders, mut files) = (vec![self.root().to_owned()], BTreeMap::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => _ = files.insert(path.clone(), fs::read(&path).unwrap()),
                }
            }
        }
        files
    }
}

fn with(command: &'static str, more: &[&'static str]) -> Vec<&'static str> {
    [&[command], &ALL[..], more].concat()
}

#[test]
fn show_and_rehearsals_tell_everything_and_change_nothing() {
    let made = Made::new();
    let before = made.all();
    let shown = made.tuned(&with("show", &[]));
    for setting in SETTINGS {
        assert!(shown.lines().any(|line| line.starts_with(setting)), "{setting} in:\n{shown}");
    }
    let reasons = |word| shown.lines().filter(|line| line.trim_start().starts_with(word)).count();
    assert_eq!((reasons("why "), reasons("figure ")), (SETTINGS.len(), SETTINGS.len()));
    let rehearsed = made.tuned(&with("apply", &["--dry-run"]));
    assert_eq!(made.all(), before);
    let done = made.tuned(&with("apply", &[]));
    let paths = |text: &str, verb: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.split_once(verb));
        lines.map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(&rehearsed, " would set "), paths(&done, " set       "));
    assert_eq!(paths(&shown, " differs   "), paths(&done, " set       "));

    let applied = made.all();
    let rehearsed = made.tuned(&["revert", "--dry-run"]);
    assert!(rehearsed.contains("/proc/sys/kernel/io_uring_disabled from 0 back to 2"));
    assert_eq!(made.all(), applied);
}

#[test]
fn apply_sets_what_is_wanted_twice_is_once_and_revert_puts_every_byte_back() {
    let made = Made::new();
    let before = made.all();
    let said = made.tuned(&with("apply", &[]));
    for (path, _, after) in FILES {
        assert_eq!(made.read(path), after, "{path} in:\n{said}");
    }
    for (path, _, after, _) in CHOICES {
        assert_eq!(made.read(path), after, "{path}");
    }
    let limits = made.read(LIMITS);
    for line in ["ringmq hard memlock unlimited", "ringmq soft nofile 1048576"] {
        assert!(limits.lines().any(|found| found == line), "{line} in:\n{limits}");
    }
    let kept = fs::read_to_string(made.state()).unwrap();
    assert!(kept.contains("net\tvalue\t/proc/sys/net/ipv4/tcp_wmem\t4096\t16384\t4194304\n"));

    let applied = made.all();
    let again = made.tuned(&with("apply", &[]));
    assert!(!again.contains(" set "), "{again}");
    assert_eq!(made.all(), applied, "the state file included");

    made.tuned(&["revert"]);
    for (path, _, _, word) in CHOICES {
        assert_eq!(made.read(path), word, "the kernel shows the others again");
        made.write(path, CHOICES.iter().find(|choice| choice.0 == path).unwrap().1);
    }
    assert_eq!(made.all(), before);
    assert!(made.tuned(&["revert"]).starts_with("nothing is kept in "));
}

#[test]
fn without_kept_values_revert_says_so_and_changes_nothing() {
    let made = Made::new();
    let before = made.all();
    let said = made.tuned(&["revert"]);
    assert!(said.contains("there is nothing to revert"), "{said}");
    assert_eq!(made.all(), before);
}

#[test]
fn a_machine_that_has_nothing_of_it_is_left_alone_and_each_reason_is_told() {
    let made = Made::empty();
    let said = made.tuned(&with("apply", &["--device", "sdz"]));
    assert!(made.all().is_empty(), "{said}");
    for setting in SETTINGS {
        let line = said.lines().find(|line| line.starts_with(setting)).unwrap();
        assert!(line.contains(" skipped   "), "{line}");
    }
}

#[test]
fn settings_are_applied_and_reverted_one_by_one() {
    let made = Made::new();
    let before = made.all();
    made.tuned(&["apply", "damon", "net"]);
    assert_eq!(made.read("sys/kernel/mm/damon/admin/kdamonds/0/state"), "off\n");
    assert_eq!(made.read("proc/sys/kernel/io_uring_disabled"), "2\n", "not asked for");
    made.tuned(&["revert", "damon"]);
    assert_eq!(made.read("sys/kernel/mm/damon/admin/kdamonds/0/state"), "on\n");
    assert_eq!(made.read("proc/sys/net/core/somaxconn"), "4096\n", "kept for later");
    made.tuned(&["revert"]);
    assert_eq!(made.all(), before);
}

#[test]
fn the_first_old_value_is_kept_whatever_happens_in_between() {
    let made = Made::new();
    made.tuned(&["apply", "net"]);
    made.write("proc/sys/net/core/somaxconn", "512\n");
    made.tuned(&["apply", "net"]);
    made.write("proc/sys/net/core/somaxconn", "1024\n");
    made.tuned(&["revert", "net"]);
    assert_eq!(made.read("proc/sys/net/core/somaxconn"), "128\n");
}

#[test]
fn bytes_and_ratio_of_dirty_pages_come_back_in_the_kernels_order() {
    let made = Made::new();
    made.tuned(&["apply", "dirty", "--buffered"]);
    // As the kernel does when the bytes are set.
    made.write("proc/sys/vm/dirty_background_ratio", "0\n");
    made.write("proc/sys/vm/dirty_ratio", "0\n");
    let said = made.tuned(&["revert"]);
    let place = |path: &str| said.find(path).unwrap_or_else(|| panic!("{path} in:\n{said}"));
    // The kernel takes no 0 for the bytes: to set the ratio clears them.
    assert!(place("dirty_background_ratio") < place("dirty_background_bytes"));
    assert!(place("dirty_ratio") < place("dirty_bytes"));
    for (path, before, _) in FILES.iter().filter(|(path, ..)| path.contains("dirty")) {
        assert_eq!(made.read(path), *before, "{path}");
    }
}

#[test]
fn one_that_fails_is_told_and_does_not_keep_the_others_from_being_set() {
    let made = Made::new();
    let path = "proc/sys/net/core/somaxconn";
    fs::remove_file(made.root().join(path)).unwrap();
    fs::create_dir(made.root().join(path)).unwrap();
    let Said { text, code } = made.tune(&["apply", "io_uring", "net", "damon"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("FAILED    /proc/sys/net/core/somaxconn: Is a directory"), "{text}");
    assert_eq!(made.read("proc/sys/net/ipv4/tcp_wmem"), "4096\t16384\t16777216\n");
    assert_eq!(made.read("sys/kernel/mm/damon/admin/kdamonds/0/state"), "off\n");
    let kept = fs::read_to_string(made.state()).unwrap();
    assert!(!kept.contains("somaxconn"), "nothing was changed there:\n{kept}");
}

#[test]
fn a_file_of_the_same_name_comes_back_as_it_was() {
    let made = Made::new();
    let odd = "* hard nofile 5\n\n\tindented \u{e4}\n\n";
    made.write(LIMITS, odd);
    made.tuned(&["apply", "limits", "--user", "mq"]);
    assert!(made.read(LIMITS).contains("mq hard memlock unlimited"));
    made.tuned(&["revert"]);
    assert_eq!(made.read(LIMITS), odd);
}

#[test]
fn where_old_values_cannot_be_kept_nothing_is_changed() {
    let made = Made::new();
    made.write("in-the-way", "");
    let before = made.all();
    let state = made.root().join("in-the-way/state");
    let Said { text, code } = made.tune(&["apply", "net", "--state", state.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(text.contains("cannot keep the old value"), "{text}");
    assert_eq!(made.all(), before);
}

#[test]
fn a_state_that_names_other_files_is_not_followed() {
    let made = Made::new();
    made.write("etc/passwd", "root\n");
    let lines = "net\tvalue\t/etc/passwd\tevil\nnet\tvalue\t/proc/../etc/passwd\tevil\n";
    made.write("var/lib/ringmq-tuning/state", lines);
    let Said { text, code } = made.tune(&["revert"]);
    assert_eq!(code, 1);
    assert!(text.contains("/etc/passwd, which is none of ours"), "{text}");
    assert_eq!(made.read("etc/passwd"), "root\n");
}

#[test]
fn interrupts_stay_where_every_cpu_runs_a_data_thread_and_huge_pages_within_the_memory() {
    let made = Made::new();
    let before = made.all();
    let said = made.tuned(&["apply", "irq", "--data-cores", "0-7"]);
    assert!(said.contains("nowhere else for them"), "{said}");
    let said = made.tuned(&["apply", "huge_pages", "--shards", "8", "--arena", "1024"]);
    assert!(said.contains("more than an eighth of the memory"), "{said}");
    assert_eq!(made.all(), before);
}

#[test]
fn what_it_does_not_understand_it_refuses() {
    let made = Made::new();
    let before = made.all();
    for args in [
        &[][..],
        &["destroy"],
        &["apply", "everything"],
        &["apply", "--data-cores", "2-"],
        &["apply", "--device", "../sda"],
        &["apply", "--user", "a b"],
        &["apply", "--shards"],
        &["apply", "--what"],
    ] {
        let Said { text, code } = made.tune(args);
        assert_eq!(code, 2, "{args:?}: {text}");
        assert!(text.starts_with("tune: ") && text.ends_with("(--help tells more)\n"), "{text}");
    }
    assert_eq!(made.all(), before);
}

/// The text of a file of the repository.
fn kept_in(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_seccomp_profile_allows_io_uring_and_names_an_error_for_all_it_denies() {
    let profile: serde_json::Value =
        serde_json::from_str(&kept_in("tuning/seccomp-io-uring.json")).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ALLOW");
    let rules = profile["syscalls"].as_array().unwrap();
    let denied = |name: &str| {
        let names = |rule: &serde_json::Value| rule["names"].as_array().unwrap().clone();
        rules.iter().filter(|rule| rule["args"].is_null()).flat_map(names).any(|one| one == name)
    };
    for needed in ["io_uring_setup", "io_uring_enter", "io_uring_register", "clone", "socket"] {
        assert!(!denied(needed), "{needed}");
    }
    for harmful in ["mount", "ptrace", "bpf", "kexec_load", "unshare", "clone3", "init_module"] {
        assert!(denied(harmful), "{harmful}");
    }
    for rule in rules {
        assert_eq!(rule["action"], "SCMP_ACT_ERRNO", "{rule}");
        assert!(rule["errnoRet"].is_u64() && rule["comment"].is_string(), "{rule}");
    }
}

#[test]
fn the_table_of_the_readme_and_the_doctors_advice_name_settings_that_there_are() {
    let readme = kept_in("tuning/README.md");
    for setting in SETTINGS {
        assert!(readme.contains(&format!("\n| `{setting}` | ")), "{setting} is not explained");
    }
    let rows = readme.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, SETTINGS.len());
    let mut advice = 0;
    for file in ["kernel", "memory", "cpu", "disk", "network"] {
        let rules = kept_in(&format!("src/doctor/judge/{file}.rs"));
        for rest in rules.split("tuning/tune apply ").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap();
            assert!(SETTINGS.contains(&name), "{name} in {file}.rs");
            advice += 1;
        }
    }
    assert!(advice > 3);
}
