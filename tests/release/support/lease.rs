//! What tests that run at the same time must not share: a subnet, ports and a network's name.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};

/// Subnets in the pool: each a /22 of 10.230.0.0 to 10.239.255.255.
const LEASES: u16 = 640;

/// Ports of one lease, and the first lease's first port: all below the kernel's ephemeral ports.
const PORTS: u16 = 16;
const FIRST_PORT: u16 = 20_000;

/// A number of the pool that no other process holds. A lock on a file, so that it ends with the process.
pub(crate) struct Lease {
    number: u16,
    _lock: File,
}

impl Lease {
    /// The first free one whose ports are free too.
    pub(crate) fn take() -> Self {
        let folder = std::env::temp_dir().join("deployer-test-leases");
        fs::create_dir_all(&folder).expect("the folder of leases");
        for number in 0..LEASES {
            let lock = File::create(folder.join(number.to_string())).expect("a lease's file");
            let lease = Self { number, _lock: lock };
            if lease._lock.try_lock().is_ok() && lease.ports_are_free() {
                return lease;
            }
        }
        panic!("all {LEASES} leases of subnets and ports are taken");
    }

    /// `10.X.Y.0/22`
    pub(crate) fn subnet(&self) -> String {
        format!("10.{}.{}.0/22", 230 + self.number / 64, self.number % 64 * 4)
    }

    /// Its number in the pool.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// The name of deployer's network: the next holder of this lease finds what a killed test left under it.
    pub(crate) fn network(&self) -> String {
        format!("deployer-test-{}", self.number)
    }

    /// Port number `index`, from 0.
    pub(crate) fn port(&self, index: u16) -> u16 {
        assert!(index < PORTS, "a test has {PORTS} ports");
        FIRST_PORT + self.number * PORTS + index
    }

    fn ports_are_free(&self) -> bool {
        (0..PORTS).all(|index| TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port(index))).is_ok())
    }
}
