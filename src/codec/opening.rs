//! What a connection begins with: a request of HTTP/1, or something that is spoken to the wrong port, or a proxy's word on who is behind it.
//!
//! TLS (RFC 8446 section 5.1: a record of type 22), HTTP/2 (RFC 9113 section 3.4: its preface), and the PROXY protocol
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, versions 1 and 2). No request begins like any of them, so a few bytes tell.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n";
const PROXY_1: &[u8] = b"PROXY ";
const PROXY_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Section 2.1: "a 108-byte buffer is always enough to store all the line and a trailing zero".
const MOST_OF_1: usize = 107;
/// Bytes behind the head of version 2: addresses, and what proxies add about TLS and names.
const MOST_OF_2: usize = 2_048;

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A request, as far as can be seen.
    Http,
    /// Too little to say; it is no request yet either.
    More,
    /// So many bytes in which a proxy says who is behind it; `None`: nobody, it asks for itself.
    Proxy(usize, Option<IpAddr>),
    /// Not for this server.
    Foreign(Foreign),
}

/// What is not for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// TLS.
    Tls,
    /// HTTP/2 without an upgrade.
    Http2,
    /// The PROXY protocol, from one who may not use it, or not as it should be.
    Proxy,
}

impl Foreign {
    /// The status code to answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Foreign::Tls | Foreign::Proxy => 400,
            Foreign::Http2 => 505,
        }
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Foreign::Tls => "TLS spoken to a port for plain HTTP",
            Foreign::Http2 => "HTTP/2 spoken to a port for HTTP/1.1",
            Foreign::Proxy => "a PROXY line that is malformed, or from an address that is not in TRUSTED_PROXIES",
        })
    }
}

/// Looks at the first bytes of a connection; `trusted`: a proxy that is believed has opened it.
#[must_use]
pub fn recognise(bytes: &[u8], trusted: bool) -> Opening {
    match bytes {
        [0x16, 0x03, ..] => return Opening::Foreign(Foreign::Tls),
        // No method begins with it.
        [0x16] => return Opening::More,
        [b'P' | b'\r', ..] => {}
        _ => return Opening::Http,
    }
    // Version 2 begins like the empty lines that may come before a request: no request has begun as long as there is nothing else.
    let begins = |known: &[u8]| {
        let seen = bytes.len().min(known.len());
        bytes.get(..seen) == known.get(..seen)
    };
    if begins(HTTP_2) && bytes.len() >= HTTP_2.len() {
        return Opening::Foreign(Foreign::Http2);
    }
    let read = match () {
        () if begins(PROXY_1) => {
            if bytes.len() >= PROXY_1.len() && !trusted {
                Err(Malformed)
            } else {
                version_1(bytes)
            }
        }
        () if begins(PROXY_2) => {
            if bytes.len() >= PROXY_2.len() && !trusted {
                Err(Malformed)
            } else {
                version_2(bytes)
            }
        }
        () if begins(HTTP_2) => Ok(None),
        () => return Opening::Http,
    };
    match read {
        Ok(Some((size, client))) => Opening::Proxy(size, client),
        Ok(None) => Opening::More,
        Err(Malformed) => Opening::Foreign(Foreign::Proxy),
    }
}

/// Not as it should be.
struct Malformed;

/// How long it is, and who it names; `None`: more is needed.
type Read = Result<Option<(usize, Option<IpAddr>)>, Malformed>;

/// `PROXY TCP4 203.0.113.7 192.0.2.1 41234 443`, or `PROXY UNKNOWN` and anything.
fn version_1(bytes: &[u8]) -> Read {
    let head = bytes.get(..MOST_OF_1).unwrap_or(bytes);
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MOST_OF_1 { Ok(None) } else { Err(Malformed) };
    };
    let line = head.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(Malformed)?;
    let mut words = line.split(' ').skip(1);
    let kind = words.next();
    let rest: Vec<&str> = words.collect();
    let client = match (kind, &rest[..]) {
        (Some("UNKNOWN"), _) => None,
        (Some(kind @ ("TCP4" | "TCP6")), [from, to, from_port, to_port]) => {
            let address =
                |text: &str| text.parse::<IpAddr>().ok().filter(|address| address.is_ipv4() == (kind == "TCP4"));
            let is_port = |text: &str| text.parse::<u16>().is_ok();
            if address(to).is_none() || !is_port(from_port) || !is_port(to_port) {
                return Err(Malformed);
            }
            Some(address(from).ok_or(Malformed)?)
        }
        _ => return Err(Malformed),
    };
    Ok(Some((end.saturating_add(2), client)))
}

/// Signature, version and command, family and protocol, length, addresses, more.
fn version_2(bytes: &[u8]) -> Read {
    let Some([command, family, high, low]) = bytes.get(PROXY_2.len()..).and_then(|rest| rest.first_chunk()) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > MOST_OF_2 {
        return Err(Malformed);
    }
    let begin = PROXY_2.len().saturating_add(4);
    let size = begin.saturating_add(length);
    let Some(addresses) = bytes.get(begin..size) else { return Ok(None) };
    let client = match (command, family) {
        // LOCAL: a health check of the proxy's own.
        (0x20, _) => None,
        (0x21, 0x11) => {
            let (from, _) = addresses.split_first_chunk::<12>().ok_or(Malformed)?;
            from.first_chunk().map(|octets: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*octets)))
        }
        (0x21, 0x21) => {
            let (from, _) = addresses.split_first_chunk::<36>().ok_or(Malformed)?;
            from.first_chunk().map(|octets: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*octets)))
        }
        // "The receiver should ignore" what it doesn't know: another family.
        (0x21, _) => None,
        _ => return Err(Malformed),
    };
    Ok(Some((size, client)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [PROXY_2, &[command, family], &length, addresses].concat()
    }

    /// Whole, byte by byte, and with a request behind it.
    fn check(name: &str, bytes: &[u8], want: Opening) {
        let mut found = Opening::More;
        let mut seen = 0;
        while found == Opening::More && seen < bytes.len() {
            seen += 1;
            found = recognise(&bytes[..seen], true);
        }
        assert_eq!(found, want, "{name}, byte by byte");
        if want != Opening::More {
            assert_eq!(recognise(&[bytes, b"GET / HTTP/1.1\r\n\r\n"].concat(), true), want, "{name}");
        }
        match want {
            Opening::Proxy(..) => {
                assert_eq!(recognise(bytes, false), Opening::Foreign(Foreign::Proxy), "{name}, from a stranger");
            }
            Opening::Http | Opening::Foreign(Foreign::Tls | Foreign::Http2) => {
                assert_eq!(recognise(bytes, false), want, "{name}, from a stranger");
            }
            Opening::More | Opening::Foreign(Foreign::Proxy) => {}
        }
    }

    #[test]
    fn openings() {
        let client = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0xa1, 0x12, 1, 0xbb];
        let v6: Vec<u8> = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[7], &[0; 16], &[0xa1, 0x12, 1, 0xbb]].concat();
        let foreign = Opening::Foreign;
        for (name, bytes, want) in [
            ("a GET", &b"GET / HTTP/1.1\r\n"[..], Opening::Http),
            ("a POST", b"POST / HTTP/1.1\r\n", Opening::Http),
            ("a PUT", b"PUT / HTTP/1.1\r\n", Opening::Http),
            ("a PROPFIND", b"PROPFIND / HTTP/1.1\r\n", Opening::Http),
            ("a method that is called so", b"PROXYGET / HTTP/1.1\r\n", Opening::Http),
            ("a method PRI", b"PRI / HTTP/1.1\r\n", Opening::Http),
            ("an empty line first", b"\r\nGET / HTTP/1.1\r\n", Opening::Http),
            ("two empty lines", b"\r\n\r\nGET / HTTP/1.1\r\n", Opening::Http),
            ("a WebSocket frame", b"\x81\x85", Opening::Http),
            ("TLS 1.3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", foreign(Foreign::Tls)),
            ("a type of TLS, and not TLS", b"\x16\x04", Opening::Http),
            ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", foreign(Foreign::Http2)),
            ("TCP4", b"PROXY TCP4 203.0.113.7 192.0.2.1 41234 443\r\n", Opening::Proxy(44, client("203.0.113.7"))),
            ("TCP6", b"PROXY TCP6 2001:db8::7 2001:db8::1 41234 443\r\n", Opening::Proxy(46, client("2001:db8::7"))),
            ("UNKNOWN", b"PROXY UNKNOWN\r\n", Opening::Proxy(15, None)),
            ("UNKNOWN and more", b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Opening::Proxy(35, None)),
            ("another family", b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", foreign(Foreign::Proxy)),
            ("an address of the other family", b"PROXY TCP4 ::1 ::2 1 2\r\n", foreign(Foreign::Proxy)),
            ("no port", b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", foreign(Foreign::Proxy)),
            ("a port too large", b"PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n", foreign(Foreign::Proxy)),
            ("two spaces", b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n", foreign(Foreign::Proxy)),
            ("no end", &[PROXY_1, &[b'x'; 200]].concat(), foreign(Foreign::Proxy)),
            ("version 2, IPv4", &version_2(0x21, 0x11, &v4), Opening::Proxy(28, client("203.0.113.7"))),
            ("version 2, IPv6", &version_2(0x21, 0x21, &v6), Opening::Proxy(52, client("2001:db8::7"))),
            (
                "version 2, with more",
                &version_2(0x21, 0x11, &[&v4[..], &[4, 0, 1, 0]].concat()),
                Opening::Proxy(32, client("203.0.113.7")),
            ),
            ("version 2, local", &version_2(0x20, 0, &[]), Opening::Proxy(16, None)),
            ("version 2, a path", &version_2(0x21, 0x31, &[7; 216]), Opening::Proxy(232, None)),
            ("version 2, too short", &version_2(0x21, 0x11, &v4[..11]), foreign(Foreign::Proxy)),
            ("version 3", &version_2(0x31, 0x11, &v4), foreign(Foreign::Proxy)),
            ("another command", &version_2(0x22, 0x11, &v4), foreign(Foreign::Proxy)),
            ("version 2, too long", &version_2(0x21, 0x11, &[7; MOST_OF_2 + 1]), foreign(Foreign::Proxy)),
            ("nothing", b"", Opening::More),
        ] {
            check(name, bytes, want);
        }
        assert_eq!([Foreign::Tls, Foreign::Http2, Foreign::Proxy].map(Foreign::status), [400, 505, 400]);
    }

    #[test]
    fn any_bytes() {
        let alphabet = [b'\r', b'\n', b'P', b' ', 0, 0x16, 0x21, b'1'];
        for n in 0..8u32.pow(5) {
            let bytes: Vec<u8> = (0..5).map(|i| alphabet[(n / 8u32.pow(i) % 8) as usize]).collect();
            for begin in [&b""[..], PROXY_1, b"PROXY TCP4 1.1.1.1 ", PROXY_2] {
                let bytes = [begin, &bytes].concat();
                if let Opening::Proxy(size, _) = recognise(&bytes, true) {
                    assert!(size <= bytes.len());
                }
            }
        }
    }
}
