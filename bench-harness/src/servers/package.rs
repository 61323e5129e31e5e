//! Baselines from the package registry: a class path, copied once by Maven.

use super::child::run_to_end;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What Maven is to fetch.
pub struct Package {
    pub name: &'static str,
    pom: &'static str,
    /// There once everything is.
    jar: &'static str,
}

pub const ROCKETMQ: Package = Package {
    name: "Apache RocketMQ 5.5.0",
    pom: include_str!("../../baselines/rocketmq/pom.xml"),
    jar: "rocketmq-broker-5.5.0.jar",
};

pub const KAFKA: Package = Package {
    name: "Apache Kafka 4.3.1",
    pom: include_str!("../../baselines/kafka/pom.xml"),
    jar: "kafka_2.13-4.3.1.jar",
};

/// The oldest that Kafka's broker runs on.
const JAVA_MIN: u32 = 17;

impl Package {
    pub fn is_installed(&self, dir: &Path) -> bool {
        dir.join("lib").join(self.jar).exists()
    }

    /// Fetches the class path into `dir`/lib, unless it is there already.
    pub fn install(&self, dir: &Path) -> io::Result<()> {
        if self.is_installed(dir) {
            return Ok(());
        }
        check_tools()?;
        fs::create_dir_all(dir)?;
        let pom = dir.join("pom.xml");
        fs::write(&pom, self.pom)?;
        // Renamed when it is whole: an interrupted copy must not pass for an installation.
        let part = fs::canonicalize(dir)?.join("lib.part");
        remove_if_there(&part)?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", part.display()));
        let status = run_to_end(maven)?;
        if !status.success() || !part.join(self.jar).exists() {
            let (name, jar) = (self.name, self.jar);
            return Err(io::Error::other(format!("{name}: mvn {status}, and no {jar}")));
        }
        remove_if_there(&dir.join("lib"))?;
        fs::rename(part, dir.join("lib"))
    }

    /// `java` with the class path, which the JVM expands itself.
    pub fn java(&self, dir: &Path) -> io::Result<Command> {
        if !self.is_installed(dir) {
            let (name, dir) = (self.name, dir.display());
            let why = format!("{name} is not in {dir}: run `ringmq-bench baselines install`");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        check_java()?;
        let mut class_path: PathBuf = fs::canonicalize(dir.join("lib"))?;
        class_path.push("*");
        let mut java = Command::new("java");
        java.arg("-cp").arg(class_path);
        Ok(java)
    }
}

/// Fetches RocketMQ alone.
pub fn install(dir: &Path) -> io::Result<()> {
    ROCKETMQ.install(dir)
}

fn remove_if_there(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Everything that is missing, in one error.
fn check_tools() -> io::Result<()> {
    let missing: Vec<String> =
        [check_java(), check_maven()].into_iter().filter_map(Result::err).map(said).collect();
    if missing.is_empty() { Ok(()) } else { Err(io::Error::other(missing.join("; "))) }
}

fn said(error: io::Error) -> String {
    error.to_string()
}

fn check_java() -> io::Result<()> {
    let missing = |what: String| {
        io::Error::other(format!(
            "{what}: the baselines need Java {JAVA_MIN} or later as `java` in PATH \
             (Debian, Ubuntu: apt-get install openjdk-17-jre-headless)"
        ))
    };
    let output = Command::new("java").arg("-version").stdin(Stdio::null()).output();
    let output = output.map_err(|error| missing(format!("java: {error}")))?;
    let text = String::from_utf8_lossy(&output.stderr);
    match java_version(&text) {
        Some(version) if version >= JAVA_MIN => Ok(()),
        Some(version) => Err(missing(format!("java is version {version}"))),
        None => Err(missing(format!("java -version {}: {}", output.status, text.trim()))),
    }
}

fn check_maven() -> io::Result<()> {
    let run = Command::new("mvn").arg("-v").stdin(Stdio::null()).output();
    let why = match run {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => format!("mvn -v {}", output.status),
        Err(error) => format!("mvn: {error}"),
    };
    Err(io::Error::other(format!(
        "{why}: the baselines come with Maven, as `mvn` in PATH (Debian, Ubuntu: apt-get install maven)"
    )))
}

/// `openjdk version "17.0.15" …`; before 9 it was `"1.8.0_392"`.
fn java_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let mut numbers = quoted.split(|c: char| !c.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        version => Some(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_are_read_in_the_old_form_and_the_new() {
        for (text, version) in [
            ("openjdk version \"17.0.15\" 2025-04-15\n", Some(17)),
            ("Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version \"21\" 2023\n", Some(21)),
            ("java version \"1.8.0_392\"\n", Some(8)),
            ("openjdk version \"25-ea\" 2025\n", Some(25)),
            ("bash: java: command not found\n", None),
        ] {
            assert_eq!(java_version(text), version, "{text}");
        }
    }

    #[test]
    fn what_is_not_installed_says_how_to_install_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = KAFKA.java(dir.path()).unwrap_err().to_string();
        assert!(error.contains("baselines install") && error.contains("Kafka"), "{error}");
    }
}
