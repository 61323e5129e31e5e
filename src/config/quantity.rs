//! Sizes, lists of CPUs and addresses in text.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};

const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Bytes from `64MiB` or a plain number.
pub fn bytes(text: &str) -> Option<u64> {
    for (unit, factor) in UNITS {
        if let Some(count) = text.strip_suffix(unit) {
            return count.trim().parse::<u64>().ok()?.checked_mul(factor);
        }
    }
    text.parse().ok()
}

/// The shortest exact way to write a number of bytes.
pub fn in_units(bytes: u64) -> String {
    for (unit, factor) in UNITS.into_iter().rev() {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// CPUs from `0,2-3`, in the order given.
pub fn cpu_list(text: &str) -> Result<Vec<usize>, &'static str> {
    const FORM: &str = "it takes CPU numbers and ranges such as 0,2-3";
    const CPU_MAX: usize = 4095;
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|cpu| *cpu <= CPU_MAX);
        let (first, last) = number(first).zip(number(last)).ok_or(FORM)?;
        if first > last {
            return Err("a range begins with its smaller number");
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err("it names a CPU twice");
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// The IPv4 address of a literal or a host's name.
pub fn ipv4(host: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    if host.is_empty() {
        return None;
    }
    (host, 0).to_socket_addrs().ok()?.find_map(|address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    })
}

/// HOST:PORT entries parted by `;` or `,`.
pub fn host_list(text: &str) -> Option<Vec<String>> {
    let entries = text.split([';', ',']).map(str::trim).filter(|entry| !entry.is_empty());
    let is_host_port = |entry: &str| {
        entry.rsplit_once(':').is_some_and(|(host, port)| {
            let is_host = !host.is_empty() && !host.contains([' ', '/', ':']);
            is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
        })
    };
    let entries: Vec<_> = entries.map(str::to_owned).collect();
    (!entries.is_empty() && entries.iter().all(|entry| is_host_port(entry))).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("64MiB"), Some(64 << 20));
        assert_eq!(bytes("1 GiB"), Some(1 << 30));
        for bad in ["", "MiB", "-1", "1.5GiB", "64MB", "64m", "17179869184GiB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        for exact in [0, 1, 1 << 10, 3 << 20, 5 << 30, (1 << 30) + 1] {
            assert_eq!(bytes(&in_units(exact)), Some(exact));
        }
    }

    #[test]
    fn cpu_lists_keep_their_order_and_name_nothing_twice() {
        assert_eq!(cpu_list("0,2-3"), Ok(vec![0, 2, 3]));
        assert_eq!(cpu_list("5, 1"), Ok(vec![5, 1]));
        for bad in ["", "a", "1-", "3-2", "1,1", "0-2,2", "0-99999999999", "1,,2"] {
            assert!(cpu_list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn name_servers_are_hosts_with_ports() {
        assert_eq!(host_list("a:1;b.c:65535;").unwrap(), ["a:1", "b.c:65535"]);
        assert_eq!(host_list("10.0.0.1:9876, h:1").unwrap(), ["10.0.0.1:9876", "h:1"]);
        for bad in ["", ";", "a", "a:", ":1", "a:0", "a:65536", "a:1;b", "http://a:1", "::1:5"] {
            assert_eq!(host_list(bad), None, "{bad}");
        }
    }
}
