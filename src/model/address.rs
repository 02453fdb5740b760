//! Planned addresses: where an instance answers follows from app, slot, lane and index, and never moves.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::{Lane, ParseError, Slot, serde_as_text};

/// Instances that one lane can hold: 64 addresses, less the one that may be a subnet's broadcast address.
pub const INSTANCES_MAX: u8 = 63;

/// The IPv4 subnet of deployer's network, `/8` to `/22`: each app owns 256 addresses of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    first: Ipv4Addr,
    prefix: u8,
}

impl Subnet {
    /// The network's own address.
    pub fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The gateway: the first address after the network's own.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.first) + 1)
    }

    /// The length of the network's prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in this subnet.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) >> (32 - self.prefix) == u32::from(self.first) >> (32 - self.prefix)
    }

    /// Whether the two subnets share an address.
    pub fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// How many apps have room: every block of 256 but the first, which holds the gateway and strangers.
    pub fn apps(self) -> u32 {
        (1 << (24 - self.prefix)) - 1
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = "an IPv4 subnet from /8 to /22 with no host bits, like 10.213.0.0/16";
        let parsed = text
            .split_once('/')
            .and_then(|(first, prefix)| Some((first.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?)));
        match parsed {
            Some((first, prefix)) if (8..=22).contains(&prefix) && u32::from(first) << prefix == 0 => {
                Ok(Self { first, prefix })
            }
            _ => Err(ParseError::new(wanted, text)),
        }
    }
}

serde_as_text!(Subnet);

/// One app's 256 addresses: 64 for each of its two slots' two lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPlan {
    block: u32,
}

/// The subnet has no room for another app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network {subnet} has addresses for {} apps; this would be number {}", subnet.apps(), index + 1)]
pub struct AddressPlanError {
    subnet: Subnet,
    index: u32,
}

impl AddressPlan {
    /// The addresses of the app with this `index` (from 0, given once at `app create`).
    ///
    /// # Errors
    /// When the subnet has no room for so many apps.
    pub fn new(subnet: Subnet, index: u32) -> Result<Self, AddressPlanError> {
        if index >= subnet.apps() {
            return Err(AddressPlanError { subnet, index });
        }
        Ok(Self {
            block: u32::from(subnet.first) + (index + 1) * 256,
        })
    }

    /// The index of the app whose block `address` is in; `None` where it is no app's.
    pub fn index_of(subnet: Subnet, address: Ipv4Addr) -> Option<u32> {
        let block = (u32::from(address).checked_sub(u32::from(subnet.first))? / 256).checked_sub(1)?;
        (block < subnet.apps()).then_some(block)
    }

    /// Whose `address` is: the slot and lane, and the instance's index; `None` where it is no app's.
    pub fn place_of(subnet: Subnet, address: Ipv4Addr) -> Option<(Slot, Lane, u8)> {
        Self::index_of(subnet, address)?;
        let within = address.octets()[3];
        let (slot, lane) = match within / 64 {
            0 => (Slot::Blue, Lane::A),
            1 => (Slot::Blue, Lane::B),
            2 => (Slot::Green, Lane::A),
            _ => (Slot::Green, Lane::B),
        };
        Some((slot, lane, within % 64))
    }

    /// The address of instance `index` (from 0, below [`INSTANCES_MAX`]) on a slot's lane.
    pub fn address(self, slot: Slot, lane: Lane, index: u8) -> Ipv4Addr {
        assert!(index < INSTANCES_MAX, "instance {index} has no address");
        let quarter = match (slot, lane) {
            (Slot::Blue, Lane::A) => 0,
            (Slot::Blue, Lane::B) => 1,
            (Slot::Green, Lane::A) => 2,
            (Slot::Green, Lane::B) => 3,
        };
        Ipv4Addr::from(self.block + quarter * 64 + u32::from(index))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_instances_share_an_address_and_none_is_reserved() {
        let subnet: Subnet = "10.213.0.0/22".parse().unwrap();
        let mut seen = HashSet::from([subnet.first(), subnet.gateway(), Ipv4Addr::new(10, 213, 3, 255)]);
        for app in 0..subnet.apps() {
            let plan = AddressPlan::new(subnet, app).unwrap();
            for slot in Slot::BOTH {
                for lane in [Lane::A, Lane::B] {
                    for index in 0..INSTANCES_MAX {
                        let address = plan.address(slot, lane, index);
                        assert!(subnet.contains(address));
                        assert!(seen.insert(address), "{address} twice");
                        assert_eq!(AddressPlan::index_of(subnet, address), Some(app));
                        assert_eq!(AddressPlan::place_of(subnet, address), Some((slot, lane, index)));
                    }
                }
            }
        }
        assert!(AddressPlan::new(subnet, subnet.apps()).is_err());
        for no_apps in ["10.212.255.255", "10.213.0.255", "10.214.0.0", "10.213.4.0"] {
            assert_eq!(AddressPlan::index_of(subnet, no_apps.parse().unwrap()), None);
        }
    }

    #[test]
    fn a_subnet_with_host_bits_or_too_small_is_refused() {
        for bad in [
            "10.213.0.1/16",
            "10.213.0.0/23",
            "10.0.0.0/7",
            "10.213.0.0",
            "x/16",
            "10.213.1.0/16",
        ] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
        let a: Subnet = "10.213.0.0/16".parse().unwrap();
        let b: Subnet = "10.0.0.0/8".parse().unwrap();
        let c: Subnet = "10.214.0.0/16".parse().unwrap();
        assert!(a.overlaps(b) && b.overlaps(a) && !a.overlaps(c));
    }
}
