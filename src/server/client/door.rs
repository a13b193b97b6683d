//! Who may come in: what one address may take of the places that are there for all, and whose place is given to another when all are taken.
//!
//! An address is what a site gets from its provider: one of IPv4, a /64 of IPv6. It has so many sessions at once, and so many new ones a second
//! (a token bucket that holds a minute's). A session that has not joined a namespace yet holds its place on trust: when the server is full,
//! the oldest such session makes room, of the newcomer's own address first if that holds many. So whoever opens sessions and does nothing
//! more takes places from themselves.

use crate::id::{Sid, Time};
use crate::limits::Limits;
use crate::proto::reason::Reason;
use crate::proto::session::Input;
use crate::server::namespace::hash::Keyed;
use crate::server::{Server, lock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

/// Addresses without sessions that are remembered. Beyond that a newcomer's is not, until others are forgotten.
const REMEMBERED: usize = 65_536;
/// Seconds of new sessions that an address may open at once: a site whose server was away comes back together.
const SAVED: u64 = 60;
/// Milliseconds between two looks at which addresses may be forgotten.
const LOOK: u64 = 1_000;
/// Milliseconds in which a session keeps its place on trust, unless its address holds many.
const TRUST: u64 = 1_000;

/// Why there is no place for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The server is closed, or has not begun.
    Closed,
    /// All places are taken.
    Full,
    /// The address has as many sessions as one may have.
    AddressFull,
    /// The address opens sessions too quickly.
    TooQuick,
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoPlace::Closed => "Not ready\n",
            NoPlace::Full => "Too many connections\n",
            NoPlace::AddressFull => "Too many connections from this address\n",
            NoPlace::TooQuick => "Too many new connections from this address\n",
        })
    }
}

impl std::error::Error for NoPlace {}

/// What counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site(IpAddr);

impl Site {
    pub(crate) fn of(address: IpAddr) -> Site {
        Site(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }

    /// Behind such an address may stand a proxy that nobody has named, with all the server's clients.
    fn is_local(self) -> bool {
        match self.0 {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                v4.is_unspecified()
                    || v4.is_private()
                    || v4.is_loopback()
                    || v4.is_link_local()
                    || (a == 100 && b & 0xc0 == 64)
            }
            IpAddr::V6(v6) => {
                // Of `::1` the /64 is left, which is that of nobody else.
                v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
            }
        }
    }
}

#[derive(Default)]
struct Address {
    sessions: usize,
    /// Connections that carry them, and others.
    streams: usize,
    /// Sessions that have not joined a namespace, by number.
    waiting: BTreeSet<u64>,
    /// When its bucket is full again, in microseconds: the more it has taken, the later.
    full_at: u64,
}

impl Address {
    fn is_idle(&self, now: Time) -> bool {
        self.sessions == 0 && self.streams == 0 && self.full_at <= now.0.saturating_mul(1_000)
    }
}

#[derive(Default)]
struct Table {
    addresses: HashMap<Site, Address, Keyed>,
    /// Sessions that have not joined a namespace, oldest first.
    waiting: BTreeMap<u64, (Sid, Site, Time)>,
    next: u64,
    /// With so many addresses they are looked through for some to forget; and when they were.
    many: usize,
    looked: Time,
}

/// The table of addresses.
#[derive(Default)]
pub(crate) struct Door(Mutex<Table>);

/// A session's entry. Its number in the list of those that have not joined a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    site: Site,
    number: u64,
    /// Its address is known.
    counted: bool,
}

fn applies(site: Site, limits: &Limits) -> bool {
    !(limits.spare_local_addresses && site.is_local())
}

impl Table {
    /// The address, if it is known or there is room to know it.
    fn address(&mut self, now: Time, site: Site, limits: &Limits) -> Option<&mut Address> {
        let most = limits.tcp_connections().saturating_add(limits.connections).saturating_add(REMEMBERED);
        let full = self.addresses.len() >= most;
        if (self.addresses.len() >= self.many || full) && now.since(self.looked) >= LOOK {
            self.looked = now;
            self.addresses.retain(|_, address| !address.is_idle(now));
            // Not again before as many have come as are left.
            self.many = self.addresses.len().saturating_mul(2).max(REMEMBERED / 64);
        }
        if self.addresses.len() >= most && !self.addresses.contains_key(&site) {
            return None;
        }
        Some(self.addresses.entry(site).or_default())
    }

    fn forget_if_idle(&mut self, now: Time, site: Site) {
        if self.addresses.get(&site).is_some_and(|address| address.is_idle(now)) {
            self.addresses.remove(&site);
        }
    }
}

impl Door {
    /// Takes a place for a new session of `site`.
    pub(crate) fn enter(&self, now: Time, site: Site, sid: &Sid, limits: &Limits) -> Result<Entrance, NoPlace> {
        let mut table = lock(&self.0);
        let number = table.next;
        let known = table.address(now, site, limits);
        let counted = known.is_some();
        if let Some(address) = known {
            if applies(site, limits) {
                if address.sessions >= limits.sessions_per_address {
                    return Err(NoPlace::AddressFull);
                }
                let rate = u64::try_from(limits.new_sessions_per_second).unwrap_or(u64::MAX);
                // In microseconds, because a token may take less than a millisecond.
                if let Some(token) = 1_000_000_u64.checked_div(rate) {
                    let full_at = address.full_at.max(now.0.saturating_mul(1_000)).saturating_add(token);
                    if full_at > now.0.saturating_add(SAVED * 1_000).saturating_mul(1_000) {
                        return Err(NoPlace::TooQuick);
                    }
                    address.full_at = full_at;
                }
            }
            address.sessions += 1;
            address.waiting.insert(number);
        }
        table.waiting.insert(number, (sid.clone(), site, now));
        table.next += 1;
        Ok(Entrance { site, number, counted })
    }

    /// The session has joined a namespace: its place is its own.
    pub(crate) fn joined(&self, entrance: Entrance) {
        let mut table = lock(&self.0);
        if table.waiting.remove(&entrance.number).is_some()
            && let Some(address) = table.addresses.get_mut(&entrance.site)
        {
            address.waiting.remove(&entrance.number);
        }
    }

    /// The session has ended.
    pub(crate) fn left(&self, now: Time, entrance: Entrance) {
        self.joined(entrance);
        let mut table = lock(&self.0);
        if entrance.counted
            && let Some(address) = table.addresses.get_mut(&entrance.site)
        {
            address.sessions = address.sessions.saturating_sub(1);
        }
        table.forget_if_idle(now, entrance.site);
    }

    /// Which session makes room for a newcomer from `site` where there are `places`, all taken.
    fn makes_room(&self, now: Time, newcomer: Entrance, places: usize) -> Option<Sid> {
        let table = lock(&self.0);
        let holds_many = |site: Site| {
            table
                .addresses
                .get(&site)
                .is_some_and(|address| address.waiting.len() > 1 && address.waiting.len() * 4 > places)
        };
        let own = || table.addresses.get(&newcomer.site).and_then(|address| address.waiting.first());
        let number = match holds_many(newcomer.site) {
            true => own(),
            false => table.waiting.keys().next(),
        };
        let (sid, holder, since) = table.waiting.get(number.filter(|number| **number != newcomer.number)?)?;
        (now.since(*since) >= TRUST || holds_many(*holder)).then(|| sid.clone())
    }

    /// Takes a place for a connection from `site`; false: it has as many as one may have.
    fn connect(&self, now: Time, site: Site, limits: &Limits) -> bool {
        let mut table = lock(&self.0);
        let Some(address) = table.address(now, site, limits) else { return true };
        if applies(site, limits) && address.streams >= limits.streams_per_address() {
            return false;
        }
        address.streams += 1;
        true
    }

    /// It has ended.
    fn disconnect(&self, now: Time, site: Site) {
        let mut table = lock(&self.0);
        if let Some(address) = table.addresses.get_mut(&site) {
            address.streams = address.streams.saturating_sub(1);
        }
        table.forget_if_idle(now, site);
    }

    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        lock(&self.0).addresses.len()
    }
}

/// The place of a connection, as long as it is kept. Apart, because most have none that is counted.
pub(crate) struct Stay(Option<Box<(Server, Site)>>);

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(stay) = self.0.take() {
            let (server, site) = *stay;
            server.door().disconnect(server.recently(), site);
        }
    }
}

impl Server {
    /// Takes a place for a new session, which another may have to give up.
    pub(crate) fn enter(&self, now: Time, site: Site, sid: &Sid) -> Result<Entrance, NoPlace> {
        let limits = &self.options().limits;
        let entrance = self.door().enter(now, site, sid, limits)?;
        if self.connection_count() < limits.connections {
            return Ok(entrance);
        }
        let gives_way =
            self.door().makes_room(now, entrance, limits.connections).and_then(|sid| self.find(sid.as_str()));
        match gives_way {
            Some(session) => {
                self.metrics().evicted.one();
                session.handle(now, Input::Abort(Reason::ForcedServerClose));
                Ok(entrance)
            }
            None => {
                self.door().left(now, entrance);
                Err(NoPlace::Full)
            }
        }
    }

    /// Takes a place for a connection from `peer`, unless that is a proxy's. `None`: there is none for its address.
    pub(crate) fn arrive(&self, peer: IpAddr) -> Option<Stay> {
        let limits = &self.options().limits;
        let trusted = || self.options().trusts.as_ref().is_some_and(|trusts| trusts(peer.to_canonical()));
        if limits.sessions_per_address == usize::MAX || trusted() {
            return Some(Stay(None));
        }
        let site = Site::of(peer);
        if !self.door().connect(self.recently(), site, limits) {
            self.metrics().refused_address.one();
            return None;
        }
        Some(Stay(Some(Box::new((self.clone(), site)))))
    }

    /// The session has joined a namespace, or begun to speak.
    pub(crate) fn joined(&self, entrance: Entrance) {
        self.door().joined(entrance);
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
