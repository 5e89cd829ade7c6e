//! One entry of the allow-list: parsed once, matched on every connection. Resolves nothing.

use std::net::{IpAddr, Ipv6Addr};

use url::Host;

/// What may be reached although it is denied by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    target: Target,
    /// `None` allows every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A host name in lower case without the final dot; allows whatever it resolves to.
    Name(String),
    /// A network; a single address is a network of full length.
    Network { base: IpAddr, prefix: u8 },
}

const NOT_AN_ENTRY: &str = "is not a host, host:port, address, [address]:port or network";

impl Entry {
    /// Reads one entry; the error says what is wrong with it.
    pub(super) fn parse(entry: &str) -> Result<Self, &'static str> {
        if let Some((base, prefix)) = entry.split_once('/') {
            return Ok(Self { target: network(base, prefix)?, port: None });
        }
        if let Some(bracketed) = entry.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']').ok_or("has `[` without `]`")?;
            let address: Ipv6Addr = address.parse().map_err(|_| "has no IPv6 address in its brackets")?;
            let port = if rest.is_empty() { None } else { Some(port(rest.strip_prefix(':').ok_or(NOT_AN_ENTRY)?)?) };
            return Ok(Self { target: single(address.into()), port });
        }
        if let Ok(address) = entry.parse::<IpAddr>() {
            return Ok(Self { target: single(address), port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, text)) => (host, Some(port(text)?)),
            None => (entry, None),
        };
        let target = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => single(address.into()),
            Ok(IpAddr::V6(_)) => return Err("needs brackets around an IPv6 address with a port"),
            Err(_) => Target::Name(name(host)?),
        };
        Ok(Self { target, port })
    }

    /// Whether this entry allows the connection.
    pub(super) fn allows(&self, host: &str, address: IpAddr, port: u16) -> bool {
        if self.port.is_some_and(|allowed| allowed != port) {
            return false;
        }
        match &self.target {
            Target::Name(name) => host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(name),
            // A v4-mapped address ends at the v4 address, so an entry for either form is meant.
            Target::Network { base, prefix } => {
                contains(*base, *prefix, address) || contains(*base, *prefix, address.to_canonical())
            }
        }
    }
}

fn single(address: IpAddr) -> Target {
    let base = address.to_canonical();
    Target::Network { base, prefix: width(base) }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        Ok(_) | Err(_) => Err("has a port that is not a number from 1 to 65535"),
    }
}

fn network(base: &str, prefix: &str) -> Result<Target, &'static str> {
    let base: IpAddr = base.parse().map_err(|_| "is not a network: no address stands before `/`")?;
    let prefix: u8 = prefix.parse().map_err(|_| "is not a network: no prefix length stands after `/`")?;
    if prefix > width(base) {
        return Err("has a prefix length beyond the address");
    }
    // Somebody who writes 10.0.0.5/8 meant either the address or the network; guessing would allow too much.
    if bits(base) & !mask(base, prefix) != 0 {
        return Err("has bits set after its prefix");
    }
    Ok(Target::Network { base, prefix })
}

fn name(host: &str) -> Result<String, &'static str> {
    let Ok(parsed) = Host::parse(host.strip_suffix('.').unwrap_or(host)) else {
        return Err(NOT_AN_ENTRY);
    };
    let Host::Domain(name) = parsed else {
        return Err("is an address in an unusual form: write four decimal numbers");
    };
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if !plain || name.is_empty() {
        return Err("is not a host name (patterns are not supported)");
    }
    Ok(name)
}

fn contains(base: IpAddr, prefix: u8, address: IpAddr) -> bool {
    base.is_ipv4() == address.is_ipv4() && (bits(base) ^ bits(address)) & mask(base, prefix) == 0
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The bits that a network of this length fixes.
fn mask(base: IpAddr, prefix: u8) -> u128 {
    let free = u32::from(width(base).saturating_sub(prefix));
    let all = if base.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
    all & u128::MAX.checked_shl(free).unwrap_or(0)
}
