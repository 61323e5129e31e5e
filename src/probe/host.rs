//! What a profile holds for: this kernel, this processor, this disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, minor};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, NFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC,
    XFS_SUPER_MAGIC, statfs,
};
use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub kernel: String,
    pub cpu: String,
    /// Major and minor number of the device that holds the data.
    pub device: String,
    pub device_model: String,
    pub file_system: String,
}

const UNKNOWN: &str = "unknown";

impl Host {
    /// Of this machine, with the data in `directory`.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let number = fs::metadata(directory)?.dev();
        let device = format!("{}:{}", major(number), minor(number));
        Ok(Self {
            kernel: uname()?.release().to_string_lossy().into_owned(),
            cpu: cpu(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            device_model: model(&Path::new("/sys/dev/block").join(&device)),
            device,
            file_system: file_system(directory)?,
        })
    }

    /// The first thing in which they differ: what it is called, and both values.
    pub fn difference<'a>(&'a self, here: &'a Self) -> Option<(&'static str, &'a str, &'a str)> {
        let pairs = [
            ("kernel", &self.kernel, &here.kernel),
            ("processor", &self.cpu, &here.cpu),
            ("device", &self.device, &here.device),
            ("device model", &self.device_model, &here.device_model),
            ("file system", &self.file_system, &here.file_system),
        ];
        let differs = pairs.into_iter().find(|(_, kept, here)| kept != here);
        differs.map(|(what, kept, here)| (what, kept.as_str(), here.as_str()))
    }
}

fn cpu(text: &str) -> String {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let named = field("model name").or_else(|| field("CPU part")).or_else(|| field("Hardware"));
    named.unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A partition's model is its disk's, one directory up.
fn model(device: &Path) -> String {
    let read = |place: &str| fs::read_to_string(device.join(place)).ok();
    let model = read("device/model").or_else(|| read("../device/model"));
    let named = model.or_else(|| {
        let link = fs::read_link(device).ok()?;
        Some(link.file_name()?.to_string_lossy().into_owned())
    });
    named.map_or_else(|| UNKNOWN.to_owned(), |text| text.trim().to_owned())
}

fn file_system(directory: &Path) -> io::Result<String> {
    let kind = statfs(directory)?.filesystem_type();
    let known = [
        (EXT4_SUPER_MAGIC, "ext4"),
        (XFS_SUPER_MAGIC, "xfs"),
        (BTRFS_SUPER_MAGIC, "btrfs"),
        (TMPFS_MAGIC, "tmpfs"),
        (OVERLAYFS_SUPER_MAGIC, "overlay"),
        (NFS_SUPER_MAGIC, "nfs"),
    ];
    let name = known.into_iter().find(|(magic, _)| *magic == kind);
    Ok(name.map_or_else(|| format!("{:#x}", kind.0), |(_, name)| name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_for_everything_and_differs_from_no_copy_of_it() {
        let host = Host::of(Path::new(".")).unwrap();
        assert!(!host.kernel.is_empty() && host.device.contains(':'), "{host:?}");
        assert_eq!(host.difference(&host.clone()), None);
        let other = Host { kernel: "6.1.0".to_owned(), ..host.clone() };
        assert_eq!(other.difference(&host), Some(("kernel", "6.1.0", host.kernel.as_str())));
    }

    #[test]
    fn processors_are_named_as_cpuinfo_names_them() {
        assert_eq!(cpu("processor\t: 0\nmodel name\t: Xeon 1\n"), "Xeon 1");
        assert_eq!(cpu("CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"), "0xd0c");
        assert_eq!(cpu(""), UNKNOWN);
    }
}
