//! The addresses that are denied unless an operator allows them. A table, from the IANA special-purpose registries.
//!
//! For IPv6 the table is turned round: only global unicast is public, and an address that carries an IPv4 address is
//! judged by that one, because that is where the packets end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Name of the denied range in which the address lies; `None` for a public unicast address.
pub(super) fn denied(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => denied_v4(address),
        IpAddr::V6(address) => denied_v6(address),
    }
}

/// Order matters where ranges overlap: the first name is the one that is reported.
const DENIED_V4: &[([u8; 4], u32, &str)] = &[
    ([169, 254, 169, 254], 32, "cloud metadata"),
    ([169, 254, 170, 2], 32, "cloud metadata"),
    ([100, 100, 100, 200], 32, "cloud metadata"),
    ([192, 0, 0, 192], 32, "cloud metadata"),
    // Azure's host agent: a public address that answers only inside, with the machine's credentials.
    ([168, 63, 129, 16], 32, "cloud metadata"),
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "protocol assignments"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([255, 255, 255, 255], 32, "broadcast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

fn denied_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = address.to_bits();
    let lies_in = |base: &[u8; 4], prefix: u32| (bits ^ u32::from_be_bytes(*base)) >> (32 - prefix) == 0;
    DENIED_V4.iter().find(|(base, prefix, _)| lies_in(base, *prefix)).map(|(_, _, name)| *name)
}

fn denied_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if let Some(mapped) = address.to_ipv4_mapped() {
        return denied_v4(mapped);
    }
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0, 0, 0, 0, 0, 0, high, low] => denied_v4(v4(high, low)).or(Some("v4-compatible")),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => denied_v4(v4(high, low)),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Some("cloud metadata"),
        [0x2002, high, low, ..] => denied_v4(v4(high, low)),
        // Teredo carries its server's address, and its client's with every bit turned.
        [0x2001, 0, high, low, _, _, client_high, client_low] => {
            denied_v4(v4(high, low)).or_else(|| denied_v4(v4(!client_high, !client_low)))
        }
        [first, second, ..] => denied_native_v6(first, second),
    }
}

fn denied_native_v6(first: u16, second: u16) -> Option<&'static str> {
    match first {
        0xfc00..=0xfdff => Some("unique local"),
        0xfe80..=0xfebf => Some("link-local"),
        0xff00..=0xffff => Some("multicast"),
        // 2001::/23 is for protocols: benchmarking, ORCHID, anycast services of the local network.
        0x2001 if second < 0x200 => Some("protocol assignments"),
        0x2001 if second == 0xdb8 => Some("documentation"),
        0x3fff if second < 0x1000 => Some("documentation"),
        0x2000..=0x3fff => None,
        0x0000..=0x1fff | 0x4000..=0xfbff | 0xfe00..=0xfe7f | 0xfec0..=0xfeff => Some("not global unicast"),
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}
