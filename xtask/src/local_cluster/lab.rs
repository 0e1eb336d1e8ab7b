//! A network of its own for each node, so that packets between two of them can be lost.
//!
//! Each node runs in a network namespace that hangs on one bridge. A wire is cut in one direction by giving the sender
//! a wrong hardware address for the receiver: what it sends from then on is lost without a trace, as behind a broken
//! switch. No connection is reset, and no firewall is needed. It takes the superuser and the tool `ip`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

/// Labs that may exist at once on one machine.
const LABS_MAX: u8 = 60;
/// A hardware address that no interface has.
const NOWHERE: &str = "02:00:5e:00:53:ff";

/// Namespaces, one per node, and the bridge between them. Dropping it removes them.
#[derive(Debug)]
pub struct Lab {
    number: u8,
    nodes: u8,
    _lock: File,
}

impl Lab {
    /// Says why there can be no lab on this machine; `None` when there can.
    pub fn lacking() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("network namespaces need the superuser".to_owned());
        }
        match Lab::set_up(1) {
            Ok(_) => None,
            Err(error) => Some(format!("network namespaces cannot be made: {error}")),
        }
    }

    /// Makes a network for this many nodes.
    pub fn set_up(nodes: u8) -> io::Result<Self> {
        let directory = std::env::temp_dir().join("ha-test-labs");
        fs::create_dir_all(&directory)?;
        for number in 0..LABS_MAX {
            let path = directory.join(number.to_string());
            let lock = OpenOptions::new().create(true).write(true).truncate(false).open(path)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let lab = Self { number, nodes, _lock: lock };
                // What a killed process left behind in this lab is nobody's any more: the lock says so.
                lab.tear_down();
                lab.build()?;
                return Ok(lab);
            }
        }
        Err(io::Error::other("every lab is in use"))
    }

    /// Where node `number`, from 1, is reached: from the other nodes, and from outside of the lab.
    pub fn address(&self, number: usize) -> Ipv4Addr {
        // Benchmark addresses (RFC 2544), which no real network uses.
        Ipv4Addr::new(198, 18, self.number, u8::try_from(number).unwrap_or(u8::MAX))
    }

    /// What a command for node `number` begins with, so that it runs in the node's network. The process keeps its
    /// number: `ip` becomes the command.
    pub fn launcher(&self, number: usize) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace(number)].map(str::to_owned).to_vec()
    }

    /// Loses everything that node `from` sends to node `to` from now on.
    pub fn cut(&self, from: usize, to: usize) -> io::Result<()> {
        let (namespace, address) = (self.namespace(from), self.address(to).to_string());
        ip(&["-n", &namespace, "neigh", "replace", &address, "lladdr", NOWHERE, "nud", "permanent", "dev", "eth0"])
    }

    /// Lets it through again.
    pub fn mend(&self, from: usize, to: usize) -> io::Result<()> {
        let (namespace, address) = (self.namespace(from), self.address(to).to_string());
        ip(&["-n", &namespace, "neigh", "del", &address, "dev", "eth0"])
    }

    fn build(&self) -> io::Result<()> {
        let bridge = self.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        let outside = format!("{}/24", Ipv4Addr::new(198, 18, self.number, 254));
        ip(&["address", "add", &outside, "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for number in 1..=usize::from(self.nodes) {
            let (namespace, wire) = (self.namespace(number), self.wire(number));
            ip(&["netns", "add", &namespace])?;
            ip(&["link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            ip(&["link", "set", &wire, "master", &bridge, "up"])?;
            let address = format!("{}/24", self.address(number));
            ip(&["-n", &namespace, "address", "add", &address, "dev", "eth0"])?;
            ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// Removes what there is; what is not there cannot be removed, and that is no error. Wires go first: the system
    /// takes a namespace down in its own time, and would leave its wire in the way of the next lab meanwhile.
    fn tear_down(&self) {
        let wires = format!("{}-", self.bridge());
        for wire in names(fs::read_dir("/sys/class/net")).iter().filter(|name| name.starts_with(&wires)) {
            let _ = ip(&["link", "delete", wire]);
        }
        let namespaces = format!("ha-lab{}-", self.number);
        for namespace in names(fs::read_dir("/run/netns")).iter().filter(|name| name.starts_with(&namespaces)) {
            let _ = ip(&["netns", "delete", namespace]);
        }
        let _ = ip(&["link", "delete", &self.bridge()]);
    }

    fn namespace(&self, number: usize) -> String {
        format!("ha-lab{}-{number}", self.number)
    }

    fn bridge(&self) -> String {
        format!("halab{}", self.number)
    }

    fn wire(&self, number: usize) -> String {
        format!("halab{}-{number}", self.number)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.tear_down();
    }
}

fn names(entries: io::Result<fs::ReadDir>) -> Vec<String> {
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("ip {}: {reason}", arguments.join(" "))))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A wire is tried with `ping`-like means that every machine has: a listener here, a connection from the namespace.
    /// Where there can be no lab there is nothing to test, and `cargo xtask test` says so.
    #[test]
    fn a_namespace_is_reached_under_its_address() {
        if Lab::lacking().is_some() {
            return;
        }
        let lab = Lab::set_up(2).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::new(198, 18, lab.number, 254), 0)).unwrap();
        let connect = format!("exec 3<>/dev/tcp/{}", listener.local_addr().unwrap().to_string().replace(':', "/"));
        let launcher = lab.launcher(2);
        let mut command = Command::new(&launcher[0]);
        let status = command.args(&launcher[1..]).args(["bash", "-c", &connect]).status().unwrap();
        assert!(status.success());
        assert_eq!(listener.accept().unwrap().1.ip(), lab.address(2));
    }
}
