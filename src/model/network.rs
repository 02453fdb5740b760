//! Networks of any address family, as lists of trusted peers name them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::{ParseError, serde_as_text};

/// Bits of an IPv6 address before the IPv4 address that is mapped into it.
const MAPPED: u8 = 96;

/// An address, or a block of them. An IPv4 block that is written as IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` is in it. An IPv4 address that is written as IPv6 is the IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differing = u32::from(first) ^ u32::from(address);
                differing.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differing = u128::from(first) ^ u128::from(address);
                differing.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The network with this first address; none where the address has bits behind the prefix.
    fn new(first: IpAddr, prefix: u8) -> Option<Self> {
        let has_host_bits = match first {
            IpAddr::V4(first) => prefix > 32 || u32::from(first).checked_shl(prefix.into()).unwrap_or(0) != 0,
            IpAddr::V6(first) => {
                prefix > 128 || u128::from(first).checked_shl(prefix.into()).unwrap_or(0) != 0
            }
        };
        (!has_host_bits).then_some(Self { first, prefix })
    }

    /// The same network in the family that its addresses are of.
    fn canonical(self) -> Self {
        let mapped = |first: Ipv6Addr| first.to_ipv4_mapped().filter(|_| self.prefix >= MAPPED);
        match self.first {
            IpAddr::V6(first) => mapped(first).map_or(self, |first| Self {
                first: first.into(),
                prefix: self.prefix - MAPPED,
            }),
            IpAddr::V4(_) => self,
        }
    }
}

/// `10.0.0.0/8`; a single address without its prefix.
impl fmt::Display for Network {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.prefix) {
            (IpAddr::V4(first), 32) => first.fmt(to),
            (IpAddr::V6(first), 128) => first.fmt(to),
            (first, prefix) => write!(to, "{first}/{prefix}"),
        }
    }
}

impl FromStr for Network {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wanted = "an IP address, or a block of them with no host bits, like 10.0.0.0/8 or 2001:db8::/32";
        let (first, prefix) = match text.split_once('/') {
            Some((first, prefix)) => (first, Some(prefix)),
            None => (text, None),
        };
        let parsed = first.parse::<IpAddr>().ok().and_then(|first| {
            let whole = if first.is_ipv4() { 32 } else { 128 };
            let is_number = |prefix: &&str| {
                prefix.bytes().all(|byte| byte.is_ascii_digit())
                    && (*prefix == "0" || !prefix.starts_with('0'))
            };
            let prefix = match prefix {
                Some(prefix) => Some(prefix).filter(is_number)?.parse().ok()?,
                None => whole,
            };
            Self::new(first, prefix)
        });
        parsed
            .map(Self::canonical)
            .ok_or_else(|| ParseError::new(wanted, text))
    }
}

serde_as_text!(Network);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["9.255.255.255", "11.0.0.0", "::10.0.0.1"][..],
            ),
            (
                "192.0.2.7",
                &["192.0.2.7", "::ffff:192.0.2.7"],
                &["192.0.2.6", "192.0.2.8", "::1"],
            ),
            ("0.0.0.0/0", &["1.2.3.4", "::ffff:1.2.3.4"], &["::1"]),
            ("::/0", &["::1", "2001:db8::1"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            ("::1", &["::1"], &["::2", "127.0.0.1", "0.0.0.1"]),
            ("2001:db8::/33", &["2001:db8:7fff::1"], &["2001:db8:8000::1"]),
            ("::ffff:10.0.0.0/104", &["10.1.2.3"], &["11.0.0.0", "::10.0.0.0"]),
            ("::ffff:127.0.0.1", &["127.0.0.1"], &["127.0.0.2"]),
        ] {
            let read: Network = network.parse().unwrap();
            for (addresses, wanted) in [(inside, true), (outside, false)] {
                for address in addresses {
                    assert_eq!(
                        read.contains(address.parse().unwrap()),
                        wanted,
                        "{address} in {network}"
                    );
                }
            }
            assert_eq!(read.to_string().parse::<Network>(), Ok(read));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "/8",
            "10",
            "10/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.1/8",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "10.0.0.0 /8",
            "010.0.0.0/8",
            "10.0.0.1:80",
            "[::1]",
            "::1/129",
            "fe80::1%eth0",
            "2001:db8::1/64",
            "localhost",
            "10.0.0.0/8,::1",
            "10.0.0.0-10.0.0.9",
            "*",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
    }
}
