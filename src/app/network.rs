//! Addresses: those of proxies that are believed, single ones or networks in CIDR notation (RFC 4632), and those that machines have for
//! themselves and for their host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address, or all addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.1`, `10.0.0.0/8`, `::1` or `fd00::/8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let most = width(address);
        Some(Network { address, bits: bits.unwrap_or(most) }).filter(|network| network.bits <= most)
    }

    /// Whether `address` is in it; an IPv4 address is also known in its IPv6 form.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let same = width(address) == width(self.address);
        let differ = number(address) ^ number(self.address);
        same && differ.checked_shr(width(address) - self.bits).unwrap_or(0) == 0
    }
}

/// Where somebody on this machine reaches a server that listens on `host`: there, or on the loopback where that means every address.
#[must_use]
pub fn reachable(host: IpAddr, port: u16) -> SocketAddr {
    let host = match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, port)
}

/// The gateway in `/proc/net/route` (proc(5)): for a container, its host. Addresses stand there in hexadecimal digits, as they lie in memory.
#[must_use]
pub fn gateway(routes: &str) -> Option<Ipv4Addr> {
    let is_default = |fields: &Vec<&str>| fields.get(1) == Some(&"00000000");
    let mut routes = routes.lines().skip(1).map(|line| line.split_whitespace().collect());
    let route: Vec<&str> = routes.find(is_default)?;
    let address = u32::from_str_radix(route.get(2)?, 16).ok()?;
    Some(Ipv4Addr::from(address.to_ne_bytes())).filter(|address| !address.is_unspecified())
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_server_is_reached() {
        for (host, want) in [
            ("0.0.0.0", "127.0.0.1:80"),
            ("::", "[::1]:80"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("10.0.0.7", "10.0.0.7:80"),
            ("fd00::7", "[fd00::7]:80"),
        ] {
            assert_eq!(reachable(host.parse().unwrap(), 80).to_string(), want, "{host}");
        }
    }

    #[test]
    fn gateways() {
        let head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let address = format!("{:08X}", u32::from_ne_bytes([172, 17, 0, 1]));
        let near = "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let default =
            |gateway: &str| format!("{head}{near}eth0\t00000000\t{gateway}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        for (routes, want) in [
            (default(&address), Some(Ipv4Addr::new(172, 17, 0, 1))),
            (default("00000000"), None),
            (default("x"), None),
            (format!("{head}{near}"), None),
            (format!("{head}eth0\t00000000\n"), None),
            (String::new(), None),
        ] {
            assert_eq!(gateway(&routes), want, "{routes}");
        }
    }

    #[test]
    fn networks() {
        for (network, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("172.28.0.0/24", "::ffff:172.28.0.10", "172.28.1.10"),
            ("::1", "::1", "::2"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "x", "10.0.0.0/", "10.0.0.0/-1"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
