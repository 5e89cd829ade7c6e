//! Decides which addresses a skill may reach: public ones, and what the operator's allow-list adds.
//!
//! Judges resolved addresses only, never names: a name proves nothing about where a connection ends. Opens no
//! connection, and does not read the environment: the text of `RUNPROOF_EGRESS_ALLOW` is handed in.

mod allow;
mod ranges;

use std::net::{IpAddr, SocketAddr};

use allow::Entry;

/// The allow-list. The default is empty: public unicast addresses only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    entries: Vec<Entry>,
}

/// An entry of the allow-list that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("egress allow-list entry `{entry}` {problem}")]
pub struct EgressError {
    /// The entry as it was written.
    pub entry: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// A connection that must not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "host `{host}` is at `{address}` ({range}), which egress does not allow; hint: an operator can add it to \
     RUNPROOF_EGRESS_ALLOW"
)]
pub struct Denied {
    /// Host as it was asked for, a name or an address.
    pub host: String,
    /// The address that was judged.
    pub address: IpAddr,
    /// The range that it lies in, such as `loopback`.
    pub range: &'static str,
}

impl Egress {
    /// Reads an allow-list: entries separated by commas or white space, each a host name, `host:port`, an address,
    /// `address:port` (`[address]:port` for IPv6) or a network such as `10.1.0.0/16`.
    ///
    /// # Errors
    /// The first entry that is none of these. A list is never taken in part.
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        let entries = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|entry| !entry.is_empty())
            .map(|entry| Entry::parse(entry).map_err(|problem| EgressError { entry: entry.to_owned(), problem }))
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Judges one connection: `address` is what `host` resolved to, or is itself the host.
    ///
    /// # Errors
    /// [`Denied`] when the address is outside the public ranges and no entry allows it.
    pub fn judge(&self, host: &str, address: IpAddr, port: u16) -> Result<(), Denied> {
        let Some(range) = ranges::denied(address) else {
            return Ok(());
        };
        if self.entries.iter().any(|entry| entry.allows(host, address, port)) {
            return Ok(());
        }
        Err(Denied { host: host.to_owned(), address, range })
    }

    /// The addresses of `host` that may be connected to.
    ///
    /// # Errors
    /// [`Denied`] names the first address when none may; an empty list stays empty.
    pub fn permitted(&self, host: &str, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, Denied> {
        let mut permitted = Vec::with_capacity(addresses.len());
        let mut first_denied = None;
        for address in addresses {
            match self.judge(host, address.ip(), address.port()) {
                Ok(()) => permitted.push(*address),
                Err(denied) => first_denied = first_denied.or(Some(denied)),
            }
        }
        match first_denied {
            Some(denied) if permitted.is_empty() => Err(denied),
            Some(_) | None => Ok(permitted),
        }
    }
}
