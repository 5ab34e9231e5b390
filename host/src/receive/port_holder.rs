//! Who listens on a port, as far as `/proc` tells: for the message of a failed bind only.

use std::fs;

/// Name and process id of a process that listens on TCP port `port`, such as `otelcol (pid 4711)`. None where it cannot be known:
/// another system than Linux, another user's process.
pub(super) fn port_holder(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening_inodes(&table, port))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|target| links.iter().any(|link| target.as_os_str() == link.as_str()))
        });
        if !holds {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some(format!("{} (pid {pid})", name.trim()))
    })
}

/// Socket inodes in state LISTEN (`0A`) on the port, from a table of proc_net(5).
fn listening_inodes(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let local = columns.nth(1)?;
            let state = columns.nth(1)?;
            let inode = columns.nth(5)?;
            (local.ends_with(&suffix) && state == "0A").then(|| inode.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_in_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:10DD 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0 100 0\n   \
            1: 0100007F:10DD 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 31338 1 0 100 0\n";
        assert_eq!(listening_inodes(table, 4317), ["31337"]);
        assert!(listening_inodes(table, 4318).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("has an address").port();
        let holder = port_holder(port).expect("is known");
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
    }
}
