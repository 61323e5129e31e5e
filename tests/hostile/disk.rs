//! A disk that is full, and has room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::node::{Node, Place, is_root, serve};
use crate::peer::Peer;
use crate::requests::{pull, send};

/// A start wants 32 segments of 16 MiB to be free.
const DISK_BYTES: u64 = 640 * 1024 * 1024;
/// So that less memory is needed to fill it.
const LIMITS: [&str; 6] =
    ["--disk-expire-at", "25", "--disk-force-at", "28", "--disk-refuse-at", "30"];
const BALLAST_BYTES: usize = 160 * 1024 * 1024;

/// The same command with a small file system of its own at `mount`, which goes with the
/// process.
fn on_small_disk(command: &Command, mount: &Path) -> Command {
    const SCRIPT: &str = r#"mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@""#;
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--mount", "--propagation", "private"]);
    if !is_root() {
        wrapped.args(["--user", "--map-root-user"]);
    }
    wrapped.args(["sh", "-c", SCRIPT, "sh", &DISK_BYTES.to_string()]).arg(mount);
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.stdin(Stdio::null()).env_remove("RINGMQ_LOG");
    wrapped
}

/// Whether this process may mount anything at all.
fn may_mount(mount: &Path) -> bool {
    let mut command = on_small_disk(&Command::new("true"), mount);
    let tried = command.stdout(Stdio::null()).stderr(Stdio::inherit()).status();
    tried.is_ok_and(|status| status.success())
}

/// Sends until the answer has this code, and returns the last remark.
fn send_until(peer: &mut Peer, code: i32) -> String {
    let begun = Instant::now();
    loop {
        let reply = peer.ask(&send("T", 0, "fill"));
        if reply.code == code {
            return reply.remark().to_owned();
        }
        assert!([0, 14].contains(&reply.code), "{reply:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "still {reply:?}");
    }
}

/// A place of the node's disk, as this process sees it.
fn seen(node: &Node<'_>, path: &Path) -> PathBuf {
    let inner = path.strip_prefix("/").unwrap();
    Path::new("/proc").join(node.pid().to_string()).join("root").join(inner)
}

#[test]
fn a_full_disk_refuses_messages_until_there_is_room_again() {
    let place = Place::new();
    let mount = place.data();
    fs::create_dir(&mount).unwrap();
    if !may_mount(&mount) {
        eprintln!("SKIPPED: no file system can be mounted here, so none can be filled");
        return;
    }
    let mut command = serve(&mount.join("data"));
    command.args(LIMITS).arg("--arena-dir").arg(&mount);
    let node = place.try_start(on_small_disk(&command, &mount)).unwrap();
    let mut peer = Peer::connect(&node.address);
    peer.create("T");
    peer.send_one();

    let path = seen(&node, &mount).join("ballast");
    fs::write(&path, vec![b'b'; BALLAST_BYTES]).unwrap();
    let remark = send_until(&mut peer, 14);
    for part in ["% full", "30 %", "--disk-refuse-at"] {
        assert!(remark.contains(part), "{part:?} is not in: {remark}");
    }
    // Whoever reads is served all the same.
    let stored = peer.max_offset("T");
    assert!(stored > 0);
    assert!(!peer.ask(&pull("consumers", "T", 0, 0)).expect(0).bodies().is_empty());
    assert_eq!(peer.ask(&send("T", 0, "no")).expect(14).remark(), remark);
    assert_eq!(peer.max_offset("T"), stored);

    fs::remove_file(path).unwrap();
    send_until(&mut peer, 0);
    assert_eq!(peer.max_offset("T"), stored + 1);
    node.stop();
}
