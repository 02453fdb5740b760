//! Who has sent a request, and the fields that go on of it: what it may say of itself depends on that.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::fields::{Field, Fields, put, tokens};

/// Longest request id that is kept.
const REQUEST_ID_MAX: usize = 128;

/// Who has sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::embedded) enum Peer {
    /// The program in front, through its socket: it has written down who the client is.
    Front,
    /// Another proxy that the operator trusts: it has written down who its client is.
    Trusted(IpAddr),
    /// Somebody who may claim whatever they like.
    Stranger(IpAddr),
}

impl Peer {
    /// Its address; none where it has none.
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Front => None,
            Self::Trusted(address) | Self::Stranger(address) => Some(address),
        }
    }

    fn is_trusted(self) -> bool {
        !matches!(self, Self::Stranger(_))
    }
}

/// Writes the fields that go on, and those that the proxy adds; gives whether the client takes trailers.
pub(super) fn put_fields(
    head: &mut Vec<u8>,
    fields: &Fields<'_>,
    host: &[u8],
    peer: Peer,
    is_http_10: bool,
) -> bool {
    let (mut way, mut told) = (Vec::new(), Vec::new());
    let (mut has_proto, mut has_host, mut has_id) = (false, false, false);
    let mut takes_trailers = false;
    for (at, (kind, field)) in fields.iter().enumerate() {
        match kind {
            Field::Other | Field::ContentType | Field::Date | Field::Release => {}
            Field::Forwarded
            | Field::ForwardedFor
            | Field::ForwardedProto
            | Field::ForwardedHost
            | Field::Claim
                if !peer.is_trusted() || field.value.is_empty() =>
            {
                continue;
            }
            Field::Forwarded => {
                told.push(field.value);
                continue;
            }
            Field::ForwardedFor => {
                way.push(field.value);
                continue;
            }
            // The last one is the nearest proxy's.
            Field::ForwardedProto | Field::ForwardedHost | Field::Claim if fields.is_said_again(at) => {
                continue;
            }
            Field::ForwardedProto => has_proto = true,
            Field::ForwardedHost => has_host = true,
            Field::Claim => {}
            Field::RequestId if !has_id && is_good_id(field.value) => has_id = true,
            Field::Te => {
                takes_trailers |= tokens(field.value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
                continue;
            }
            _ => continue,
        }
        put(head, field.name, field.value);
    }
    // HTTP/1.0 has no chunks for them to stand behind.
    takes_trailers &= !is_http_10;
    if takes_trailers {
        put(head, "te", b"trailers");
    }
    put_way(head, &way, peer.address());
    if !told.is_empty() {
        put(head, "forwarded", &told.join(&b", "[..]));
    }
    // TLS usually ends before us, at something that says so.
    if !has_proto {
        put(head, "x-forwarded-proto", b"http");
    }
    if !has_host {
        put(head, "x-forwarded-host", host);
    }
    if !has_id {
        put(head, "x-request-id", &request_id());
    }
    takes_trailers
}

/// Writes all that is known of the way so far in one line, and where it came from last.
fn put_way(head: &mut Vec<u8>, way: &[&[u8]], client: Option<IpAddr>) {
    if way.is_empty() && client.is_none() {
        return;
    }
    head.extend_from_slice(b"x-forwarded-for: ");
    for (at, value) in way.iter().enumerate() {
        if at > 0 {
            head.extend_from_slice(b", ");
        }
        head.extend_from_slice(value);
    }
    if let Some(client) = client {
        if !way.is_empty() {
            head.extend_from_slice(b", ");
        }
        match client.to_canonical() {
            IpAddr::V4(ip) => put_dotted(head, ip),
            IpAddr::V6(ip) => head.extend_from_slice(ip.to_string().as_bytes()),
        }
    }
    head.extend_from_slice(b"\r\n");
}

/// The address as it is written. The standard library's formatting takes ten times as many instructions.
fn put_dotted(head: &mut Vec<u8>, ip: Ipv4Addr) {
    for (at, octet) in ip.octets().into_iter().enumerate() {
        if at > 0 {
            head.push(b'.');
        }
        for unit in [100, 10, 1] {
            if octet >= unit || unit == 1 {
                head.push(b'0' + octet / unit % 10);
            }
        }
    }
}

fn is_good_id(id: &[u8]) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// An id that no other request has: 16 hexadecimal digits, without a system call.
pub(super) fn request_id() -> [u8; 16] {
    static LAST: AtomicU64 = AtomicU64::new(0);
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    // SplitMix64: every number becomes another one, so no two that follow one seed are the same.
    let mut mixed = LAST
        .fetch_add(1, Relaxed)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(*SEED);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let mut text = [0; 16];
    for (at, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(mixed >> (60 - 4 * at)) as usize & 15];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_everybody_writes_it() {
        let octets = [0, 1, 9, 10, 19, 99, 100, 101, 110, 199, 200, 255];
        for first in octets {
            for second in octets {
                let ip = Ipv4Addr::new(first, second, second, first);
                for ip in [IpAddr::V4(ip), ip.to_ipv6_mapped().into()] {
                    let mut head = Vec::new();
                    put_way(&mut head, &[], Some(ip));
                    let line = format!("x-forwarded-for: {}\r\n", ip.to_canonical());
                    assert_eq!(head, line.as_bytes());
                }
            }
        }
    }
}
