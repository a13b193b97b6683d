//! Origins of pages, and what proxies say of a request on its way.
//!
//! RFC 6454 section 6.2 (`Origin: https://example.org`, or `null`), RFC 7239 (`Forwarded`), and the older `X-Forwarded-For`, `-Host` and
//! `-Proto`. Clients and proxies write the same origin in several ways: with its default port or without, in capitals, with a slash behind it;
//! two that mean the same are the same here.

use super::http::Headers;
use std::net::IpAddr;

/// The parts of an origin. `null`, which pages without one have, is a scheme without a host, as is `file://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    /// None: the scheme's own.
    port: Option<u16>,
}

/// Schemes of the web: pages of these have a server.
const WEB: [(&str, u16); 4] = [("http", 80), ("https", 443), ("ws", 80), ("wss", 443)];

impl<'a> Origin<'a> {
    /// Reads an origin, or a pattern such as `https://*.example.org`, as it stands in a header or in a list. `None`: it is none.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Origin<'a>> {
        if text.eq_ignore_ascii_case("null") {
            return Some(Origin { scheme: "null", host: "", port: None });
        }
        let (scheme, rest) = text.split_once("://")?;
        let letters = |more: &str, text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !letters("+-.", scheme) {
            return None;
        }
        let (host, port) = host_and_port(rest.trim_end_matches('/'))?;
        let name = host.strip_prefix("*.").unwrap_or(host);
        let file = scheme.eq_ignore_ascii_case("file");
        if !letters("-_.:[]", name) || name.is_empty() != (file && host.is_empty()) {
            return None;
        }
        Some(Origin { scheme, host, port: port.filter(|port| Some(*port) != own_port(scheme)) })
    }

    /// Whether an origin is this one, or one of those that this pattern means: any sub-domain of it, at any depth, but not the domain itself.
    #[must_use]
    pub fn covers(&self, origin: &Origin<'_>) -> bool {
        let host = match self.host.strip_prefix('*') {
            Some(domain) => {
                let from = origin.host.len().checked_sub(domain.len()).filter(|from| *from > 0);
                let end = from.and_then(|from| origin.host.get(from..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(domain)) && !origin.host.starts_with('*')
            }
            None => self.host.eq_ignore_ascii_case(origin.host),
        };
        host && self.scheme.eq_ignore_ascii_case(origin.scheme) && self.port == origin.port
    }

    /// Whether a page of this origin comes from the server that the request is to, by its headers. What proxies add to them is believed if the
    /// last one is `trusted`.
    ///
    /// A server behind a proxy does not know whether its clients use TLS, so the schemes need not be the same. A page that was loaded without it
    /// is another's where a proxy says that this request came with it.
    #[must_use]
    pub fn is_of_server(&self, headers: &Headers, trusted: bool) -> bool {
        let Some(own) = own_port(self.scheme) else { return false };
        let proto = if trusted { forwarded(headers, "x-forwarded-proto", "proto").into_iter().next() } else { None };
        let secure = |scheme: &str| own_port(scheme) == Some(443);
        if proto.is_some_and(secure) && own == 80 {
            return false;
        }
        let is_same = |host: &str| {
            let Some((name, port)) = host_and_port(host) else { return false };
            // The port of a proxy's own plain side says nothing where the proxy tells what its client came by.
            let inner = proto.is_some() && matches!(port, Some(80 | 443));
            let port = port.filter(|port| *port != own && !inner);
            name.eq_ignore_ascii_case(self.host) && port == self.port
        };
        let hosts = if trusted { forwarded(headers, "x-forwarded-host", "host") } else { Vec::new() };
        headers.all("host").chain(hosts).any(is_same)
    }
}

/// The port that a scheme of the web has when none is named.
fn own_port(scheme: &str) -> Option<u16> {
    WEB.iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme)).map(|(_, port)| *port)
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`; an empty port is none.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    // A colon within a host is an IPv6 address', which is in brackets.
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return None;
    }
    match port {
        "" => Some((host, None)),
        port if port.bytes().all(|b| b.is_ascii_digit()) => Some((host, Some(port.parse().ok()?))),
        _ => None,
    }
}

/// Where the client is: `peer`, unless that is a proxy which `trusts` knows. Then it is who that proxy says it was asked by, and so on, from the
/// right: what stands further left may have been written by the client itself.
#[must_use]
pub fn client(peer: IpAddr, headers: &Headers, trusts: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusts(client) {
        return client;
    }
    for said in forwarded(headers, "x-forwarded-for", "for").into_iter().rev() {
        let Some(address) = address(said) else { break };
        client = address.to_canonical();
        if !trusts(client) {
            break;
        }
    }
    client
}

/// An address as proxies write it: with a port or without, in brackets, quoted. `unknown` and made-up names are none.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, _) = host_and_port(text)?;
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse().ok()
}

/// What proxies said one after the other: the elements of the older header, or, without one, those of `Forwarded`. Both together come from a
/// proxy that knows one of them and passes on what the client wrote into the other; nearly all know the older ones.
fn forwarded<'a>(headers: &'a Headers, older: &str, parameter: &str) -> Vec<&'a str> {
    let mut said: Vec<&str> = headers.all(older).flat_map(|value| value.split(',')).map(str::trim).collect();
    if said.is_empty() {
        for element in headers.all("forwarded").flat_map(|value| split(value, ',')) {
            let pairs = split(element, ';').filter_map(|pair| pair.split_once('='));
            let found = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(parameter));
            said.push(found.map_or("", |(_, value)| value.trim().trim_matches('"')));
        }
    }
    said
}

/// Splits at a separator that is not within quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let plain = !escaped;
        escaped = quoted && c == '\\' && plain;
        quoted ^= c == '"' && plain;
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http;

    fn headers(lines: &str) -> Headers {
        http::parse(format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n").as_bytes(), 20).unwrap().headers
    }

    #[test]
    fn what_is_listed_and_what_comes() {
        for (listed, origin, want) in [
            ("https://example.org", "https://example.org", true),
            ("https://example.org", "HTTPS://Example.ORG", true),
            ("https://example.org", "https://example.org/", true),
            ("https://example.org/", "https://example.org", true),
            ("https://example.org", "https://example.org:443", true),
            ("https://example.org:443", "https://example.org", true),
            ("http://example.org:80", "http://example.org", true),
            ("https://example.org:", "https://example.org", true),
            ("https://example.org", "https://example.org:80", false),
            ("https://example.org", "https://example.org:444", false),
            ("https://example.org:8443", "https://example.org:8443", true),
            ("https://example.org", "http://example.org", false),
            ("https://example.org", "wss://example.org", false),
            ("https://example.org", "https://example.org.evil.example", false),
            ("https://example.org", "https://evil-example.org", false),
            ("https://example.org", "https://a.example.org", false),
            ("https://example.org", "https://example.org,https://evil.example", false),
            ("https://example.org", "https://example.org@evil.example", false),
            ("https://example.org", "https://user@example.org", false),
            ("https://example.org", "https://example.org/path", false),
            ("https://example.org", "null", false),
            ("https://example.org", "", false),
            ("https://*.example.org", "https://a.example.org", true),
            ("https://*.example.org", "https://A.B.Example.org:443", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://.example.org", false),
            ("https://*.example.org", "https://*.example.org", false),
            ("https://*.example.org", "https://evil-example.org", false),
            ("https://*.example.org", "https://example.org.evil.example", false),
            ("https://*.example.org", "https://a.example.org.evil.example", false),
            ("https://*.example.org", "http://a.example.org", false),
            ("https://*.example.org", "https://a.example.org:8443", false),
            ("https://*.example.org:8443", "https://a.example.org:8443", true),
            ("https://*.example.org", "https://é.example.org", false),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("http://[::1]", "http://[::1]:80", true),
            ("http://[::1]", "http://::1", false),
            ("null", "null", true),
            ("null", "file://", false),
            ("null", "https://null", false),
            ("file://", "file://", true),
            ("file://", "file:///", true),
            ("file:///", "FILE://", true),
            ("file://", "null", false),
            ("file://", "https://file", false),
            ("capacitor://localhost", "capacitor://localhost", true),
            ("capacitor://localhost", "ionic://localhost", false),
        ] {
            let [listed_as, origin_as] = [listed, origin].map(Origin::parse);
            let covered = listed_as.unwrap().covers(&origin_as.unwrap_or(Origin { scheme: "", host: "", port: None }));
            assert_eq!(covered, want, "{listed} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin() {
        for text in [
            "",
            "*",
            "example.org",
            "https://",
            "https:///",
            "://a",
            "https://a/b",
            "https://*",
            "https://*.",
            "https://a.*.b",
            "https://*a.b",
            "https://**.a",
            "https://a*.b",
            "1a://b",
            "https://a b",
            "https://a:b",
            "https://a:99999",
            "https://a:1:2",
            "https://a:-1",
            "nullx",
            "file://a:b",
            "https://a?b",
            "https://a#b",
            "https://\u{e9}",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn pages_of_the_server_itself() {
        for (origin, lines, untrusted, trusted) in [
            ("https://a.example", "Host: a.example", true, true),
            ("http://a.example", "Host: a.example", true, true),
            ("https://a.example", "Host: A.Example", true, true),
            ("https://a.example", "Host: a.example:443", true, true),
            ("https://a.example:443", "Host: a.example", true, true),
            ("https://a.example/", "Host: a.example", true, true),
            ("wss://a.example", "Host: a.example", true, true),
            ("http://a.example:3000", "Host: a.example:3000", true, true),
            ("http://[::1]:3000", "Host: [::1]:3000", true, true),
            ("https://a.example", "Host: a.example:80", false, false),
            ("https://a.example", "Host: a.example:8443", false, false),
            ("https://a.example:8443", "Host: a.example", false, false),
            ("https://a.example", "Host: b.example", false, false),
            ("https://a.example", "Host: a.example.b.example", false, false),
            ("null", "Host: null", false, false),
            ("file://", "Host: file", false, false),
            ("capacitor://localhost", "Host: localhost", false, false),
            ("https://a.example", "Host: 10.0.0.5:3000\r\nX-Forwarded-Host: a.example", false, true),
            ("https://a.example", "Host: 10.0.0.5:3000\r\nX-Forwarded-Host: A.example:443", false, true),
            ("https://a.example", "Host: 10.0.0.5:3000\r\nX-Forwarded-Host: a.example, inner", false, true),
            ("https://a.example", "Host: x\r\nForwarded: for=1.2.3.4;host=a.example;proto=https", false, true),
            ("https://a.example", "Host: x\r\nForwarded: for=1.2.3.4; Host=\"a.example:443\"", false, true),
            ("https://b.example", "Host: x\r\nX-Forwarded-Host: a.example", false, false),
            ("https://a.example", "Host: a.example:80\r\nX-Forwarded-Proto: https", false, true),
            ("https://a.example", "Host: a.example\r\nX-Forwarded-Proto: http", true, true),
            ("http://a.example", "Host: a.example\r\nX-Forwarded-Proto: https", true, false),
            ("http://a.example", "Host: a.example\r\nX-Forwarded-Proto: https, http", true, false),
            ("http://a.example", "Host: a.example\r\nX-Forwarded-Proto: http", true, true),
        ] {
            let (origin_as, headers) = (Origin::parse(origin).unwrap(), headers(lines));
            let said = [false, true].map(|trusted| origin_as.is_of_server(&headers, trusted));
            assert_eq!(said, [untrusted, trusted], "{origin} {lines}");
        }
    }

    #[test]
    fn where_the_client_is() {
        let trusts =
            |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10) || address.is_loopback();
        for (peer, lines, want) in [
            ("192.0.2.1", "X-Forwarded-For: 203.0.113.7", "192.0.2.1"),
            ("10.0.0.1", "X: y", "10.0.0.1"),
            ("::ffff:10.0.0.1", "X-Forwarded-For: 203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.7:41234", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 2001:db8::7", "2001:db8::7"),
            ("10.0.0.1", "X-Forwarded-For: [2001:db8::7]", "2001:db8::7"),
            ("10.0.0.1", "X-Forwarded-For: [2001:db8::7]:41234", "2001:db8::7"),
            ("10.0.0.1", "X-Forwarded-For: ::ffff:203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.7, 10.0.0.9", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.7,10.0.0.8:99 , 10.0.0.9", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.9", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 10.0.0.9\r\nX-Forwarded-For: 203.0.113.7", "203.0.113.7"),
            // What a client wrote itself stands left of what a proxy knows.
            ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 203.0.113.7", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.0.0.9", "203.0.113.7"),
            ("10.0.0.1", "X-Forwarded-For: 10.0.0.7, 10.0.0.8", "10.0.0.7"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.7, unknown", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: unknown, 10.0.0.9", "10.0.0.9"),
            ("10.0.0.1", "X-Forwarded-For:", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.7,", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113.7:x", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 203.0.113", "10.0.0.1"),
            ("127.0.0.1", "Forwarded: for=203.0.113.7", "203.0.113.7"),
            ("127.0.0.1", "Forwarded: For=\"203.0.113.7:47011\";proto=http", "203.0.113.7"),
            ("127.0.0.1", "Forwarded: proto=http;by=x; for=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("127.0.0.1", "Forwarded: for=1.1.1.1, for=203.0.113.7, for=10.0.0.9", "203.0.113.7"),
            ("127.0.0.1", "Forwarded: for=203.0.113.7;by=\"a,for=1.1.1.1;b\"", "203.0.113.7"),
            ("127.0.0.1", "Forwarded: for=203.0.113.7;by=\"a\\\",for=1.1.1.1\"", "203.0.113.7"),
            ("127.0.0.1", "Forwarded: for=_hidden", "127.0.0.1"),
            ("127.0.0.1", "Forwarded: for=203.0.113.7, proto=https", "127.0.0.1"),
            ("127.0.0.1", "Forwarded: for=1.1.1.1\r\nX-Forwarded-For: 203.0.113.7", "203.0.113.7"),
        ] {
            let found = client(peer.parse().unwrap(), &headers(&format!("Host: a\r\n{lines}")), trusts);
            assert_eq!(found, want.parse::<IpAddr>().unwrap(), "{peer} {lines}");
        }
    }
}
