//! Small files that are replaced as a whole: a reader sees the old or the new one,
//! and a checksum tells a damaged one from both.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::{FileError, Tried};

const CHECKSUM_KEY: &str = "checksum = ";

/// Puts `bytes` at `path`: on return the new content is durable under its name.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let scratch = beside(path, "tmp");
    let mut file = File::create(&scratch).tried("create", &scratch)?;
    file.write_all(bytes).tried("write", &scratch)?;
    file.sync_all().tried("flush", &scratch)?;
    fs::rename(&scratch, path).tried("rename a new file to", path)?;
    sync_parent(path)
}

/// Makes the names in the directory of `path` durable.
pub fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_directory(parent)
}

pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    let directory = File::open(path).tried("open", path)?;
    directory.sync_all().tried("flush the directory", path)
}

/// `path` with another ending: where a file is made before it gets its name.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// `text` with a last line that holds its checksum.
pub fn with_checksum(text: &str) -> String {
    format!("{text}{CHECKSUM_KEY}\"{:08x}\"\n", crc32fast::hash(text.as_bytes()))
}

/// The text above the checksum line, if it is the one that the checksum was made of.
pub fn without_checksum(text: &str) -> Option<&str> {
    let at = text.rfind(CHECKSUM_KEY)?;
    let (content, line) = text.split_at(at);
    let stored = line.strip_prefix(CHECKSUM_KEY)?.trim_end().trim_matches('"');
    let stored = u32::from_str_radix(stored, 16).ok()?;
    (stored == crc32fast::hash(content.as_bytes())).then_some(content)
}

/// Sixteen bytes as lower-case hex.
pub fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sixteen bytes from their hex, dashes passed over (as in UUIDs).
pub fn unhex(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|digit| *digit != '-').collect();
    let sized = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    sized.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_breaks_the_checksum() {
        let sealed = with_checksum("life = 7\nclean = true\n");
        assert_eq!(without_checksum(&sealed), Some("life = 7\nclean = true\n"));
        for at in 0.."life = 7\nclean = true\n".len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] ^= 1;
            assert_eq!(without_checksum(str::from_utf8(&bytes).unwrap()), None, "byte {at}");
        }
        assert_eq!(without_checksum(&sealed[..sealed.len() - 6]), None);
    }

    #[test]
    fn sixteen_bytes_survive_their_hex() {
        let id: [u8; 16] = std::array::from_fn(|at| at as u8 * 17);
        assert_eq!(unhex(&hex(&id)), Some(id));
        assert_eq!(unhex("01234567-89ab-cdef-0123-456789abcdef").map(|id| id[0]), Some(1));
        for bad in ["", "0123", "+1234567890123456789012345678901", &"0".repeat(33)] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_replaced_file_holds_the_new_bytes_and_leaves_no_scratch() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        replace(&path, b"one").unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
