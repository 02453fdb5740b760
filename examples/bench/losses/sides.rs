//! The two sides of a flip: the test app, on the host, at the addresses that are planned for the two lanes of a slot.

use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use deployer::model::{AddressPlan, Lane, Slot, Subnet};

use crate::ports;
use crate::process::{Daemon, wait_for};
use crate::world::World;

/// All of it is this host's own, without a network to make: the app listens at each of its addresses.
pub(super) const SUBNET: &str = "127.77.0.0/16";

/// One of the two.
pub(super) struct Side {
    pub(super) version: &'static str,
    lane: Lane,
    plan: AddressPlan,
    port: u16,
    _process: Daemon,
}

impl Side {
    /// The app as `version`, for one lane.
    pub(super) fn start(world: &World, folder: &Path, version: &'static str, lane: Lane) -> Result<Self> {
        let port = ports::free(1)?[0];
        let mut server = Command::new(world.work.join("server"));
        server.env("PORT", port.to_string()).env("VERSION", version);
        server.env("DATA", folder.join("none")).current_dir(folder);
        let log = folder.join(format!("{version}.log"));
        let side = Self {
            version,
            lane,
            plan: AddressPlan::new(SUBNET.parse::<Subnet>()?, 0)?,
            port,
            _process: Daemon::start(&mut server, &log)?,
        };
        wait_for("the app did not start", &log, || {
            TcpStream::connect(side.instance(0)).is_ok()
        })?;
        Ok(side)
    }

    /// The address of one of its instances, which are all the same process.
    pub(super) fn instance(&self, index: u8) -> SocketAddrV4 {
        SocketAddrV4::new(self.plan.address(Slot::Green, self.lane, index), self.port)
    }
}
