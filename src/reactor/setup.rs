//! Making a ring on whatever kernel is there: what must be, what may be missing, and
//! what an operator can do about it.

use super::rlimits;
use io_uring::{IoUring, Probe, opcode};
use std::fmt;
use std::io;

/// The sizes of a ring.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submissions per enter; more are passed on in several.
    pub entries: u32,
    /// Completions that wait for us; the kernel keeps more aside, at a cost.
    pub cq_entries: u32,
    /// Receive buffers, a power of two, and bytes of each. 512 of 16 KiB let 16
    /// connections be half a MiB behind, and take a frame of 64 KiB in five pieces.
    pub buffer_count: u16,
    pub buffer_bytes: u32,
    /// Off only to measure, or to test, what registering brings.
    pub register_arenas: bool,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            entries: 1024,
            cq_entries: 8192,
            buffer_count: 512,
            buffer_bytes: 16 * 1024,
            register_arenas: true,
        }
    }
}

/// Something optional that is missing, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// Before Linux 6.6: submissions go by an index array.
    SubmissionIndex,
    /// Too little locked memory for queues as configured: more calls under load.
    SmallQueues { entries: u32, limit: Option<u64> },
    /// An arena could not be registered: its writes and reads cost 2-4 times the cycles.
    ArenaNotRegistered { bytes: usize, limit: Option<u64>, cause: String },
}

/// Why there is no ring, and how to allow one.
#[derive(Debug)]
pub enum SetupError {
    /// `kernel.io_uring_disabled` says no; its value.
    Disabled(u8),
    /// The sysctl allows it and yet the kernel answers "not permitted": a seccomp filter.
    Forbidden,
    /// Not enough locked memory; the limit.
    LockedMemory(Option<u64>),
    /// Something that Linux 6.1 has is missing here.
    KernelTooOld {
        release: String,
        missing: String,
    },
    Io {
        tried: &'static str,
        error: io::Error,
    },
}

/// Everything that data threads ask the kernel to do.
const OPCODES: [(u8, &str); 12] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::Read::CODE, "READ"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::SyncFileRange::CODE, "SYNC_FILE_RANGE"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

/// A ring with all that is required of it, and a list of what else it lacks.
pub(super) fn build(config: &RingConfig) -> Result<(IoUring, Vec<Degradation>), SetupError> {
    let mut degradations = Vec::new();
    let mut built = build_sized(config, &mut degradations);
    if let Err(error) = &built
        && error.raw_os_error() == Some(libc::ENOMEM)
    {
        // Newer kernels count the queues, and those of all this user's rings together.
        let limit = rlimits::locked_memory();
        let small = RingConfig { entries: 64, cq_entries: 256, ..*config };
        degradations = vec![Degradation::SmallQueues { entries: small.entries, limit }];
        built = build_sized(&small, &mut degradations);
    }
    let uring = built.map_err(explain)?;
    check(&uring)?;
    Ok((uring, degradations))
}

fn build_sized(config: &RingConfig, missing: &mut Vec<Degradation>) -> io::Result<IoUring> {
    match builder(config).setup_no_sqarray().build(config.entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            missing.push(Degradation::SubmissionIndex);
            builder(config).build(config.entries)
        }
        other => other,
    }
}

fn builder(config: &RingConfig) -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        // Tells a spinning thread, without a call, that completions are to be fetched.
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(config.cq_entries.max(4 * config.entries));
    builder
}

fn check(uring: &IoUring) -> Result<(), SetupError> {
    let parameters = uring.params();
    let features = [
        (parameters.is_feature_nodrop(), "completions that are never dropped"),
        (parameters.is_feature_ext_arg(), "waiting with a timeout"),
        (parameters.is_feature_fast_poll(), "internal polling"),
        (parameters.is_feature_submit_stable(), "stable submissions"),
    ];
    if let Some((_, missing)) = features.iter().find(|(there, _)| !there) {
        return Err(too_old(missing));
    }
    let mut probe = Probe::new();
    let tried = |error| SetupError::Io { tried: "ask io_uring for its operations", error };
    uring.submitter().register_probe(&mut probe).map_err(tried)?;
    match OPCODES.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, missing)) => Err(too_old(&format!("the operation {missing}"))),
        None => Ok(()),
    }
}

/// What an error of io_uring_setup means on this machine.
fn explain(error: io::Error) -> SetupError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match sysctl_disabled() {
            Some(value @ 1..) => SetupError::Disabled(value),
            _ => SetupError::Forbidden,
        },
        Some(libc::ENOSYS) => match sysctl_disabled() {
            // The sysctl is there, so the kernel has io_uring, and a filter hides it.
            Some(_) => SetupError::Forbidden,
            None => too_old("io_uring (or it was left out of this kernel)"),
        },
        Some(libc::EINVAL) => too_old("a ring with deferred task work"),
        Some(libc::ENOMEM) => SetupError::LockedMemory(rlimits::locked_memory()),
        _ => SetupError::Io { tried: "make an io_uring", error },
    }
}

/// What an error of registering receive buffers means.
pub(super) fn explain_buffers(error: io::Error) -> SetupError {
    match error.raw_os_error() {
        Some(libc::EINVAL) => too_old("rings of receive buffers"),
        Some(libc::ENOMEM) => SetupError::LockedMemory(rlimits::locked_memory()),
        _ => SetupError::Io { tried: "register receive buffers", error },
    }
}

fn sysctl_disabled() -> Option<u8> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok()
}

fn too_old(missing: &str) -> SetupError {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_else(|_| "of unknown release".into());
    SetupError::KernelTooOld { release, missing: missing.into() }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled(value) => write!(
                f,
                "io_uring is switched off on this machine (kernel.io_uring_disabled = {value}); \
                 allow it with `sysctl -w kernel.io_uring_disabled=0`{}",
                if *value == 1 {
                    ", or add this user to the group in kernel.io_uring_group"
                } else {
                    ""
                }
            ),
            Self::Forbidden => write!(
                f,
                "io_uring is not permitted to this process, most likely by a container's seccomp \
                 filter; allow io_uring_setup, io_uring_enter and io_uring_register there \
                 (docker: --security-opt seccomp=unconfined or a profile that lists them)"
            ),
            Self::LockedMemory(limit) => write!(
                f,
                "io_uring got no memory; the limit of locked memory is {}; raise it with \
                 `ulimit -l unlimited` or LimitMEMLOCK=infinity",
                Limit(*limit)
            ),
            Self::KernelTooOld { release, missing } => {
                write!(f, "Linux 6.1 or later is needed; this kernel ({release}) lacks {missing}")
            }
            Self::Io { tried, error } => write!(f, "could not {tried}: {error}"),
        }
    }
}

impl std::error::Error for SetupError {}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SubmissionIndex => write!(
                f,
                "the kernel is older than 6.6: each submission costs one memory access more"
            ),
            Self::SmallQueues { entries, limit } => write!(
                f,
                "the limit of locked memory ({}, for all rings of this user together) allows a \
                 ring of {entries} entries only: more calls under load; raise it with \
                 `ulimit -l unlimited` or LimitMEMLOCK=infinity",
                Limit(*limit)
            ),
            Self::ArenaNotRegistered { bytes, limit, cause } => write!(
                f,
                "an arena of {bytes} bytes could not be registered ({cause}; the limit of locked \
                 memory is {}): log writes cost 2-4 times the cycles; raise the limit with \
                 `ulimit -l unlimited` or LimitMEMLOCK=infinity",
                Limit(*limit)
            ),
        }
    }
}

/// A resource limit as an operator reads it.
struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{} KiB", bytes / 1024),
            None => write!(f, "unlimited"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(errno: i32) -> String {
        explain(io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn an_error_says_what_to_do_about_it() {
        assert!(told(libc::EINVAL).contains("Linux 6.1"), "{}", told(libc::EINVAL));
        assert!(told(libc::ENOMEM).contains("LimitMEMLOCK"), "{}", told(libc::ENOMEM));
        let refused = told(libc::EPERM);
        assert!(refused.contains("seccomp") || refused.contains("sysctl -w"), "{refused}");
        let disabled = SetupError::Disabled(2).to_string();
        assert!(disabled.contains("kernel.io_uring_disabled=0"), "{disabled}");
        assert!(told(libc::EMFILE).contains("make an io_uring"), "{}", told(libc::EMFILE));
    }

    #[test]
    fn a_ring_with_everything_can_be_built_here() {
        let (uring, degradations) = build(&RingConfig::default()).unwrap();
        assert!(uring.params().is_setup_single_issuer());
        assert!(degradations.len() <= 2, "{degradations:?}");
    }
}
