//! Where Redis is, from the environment: a URL, or a host, a port, a user and a password, each by itself. What is not supported is refused with
//! what helps instead.

use super::config::{Allowed, ConfigError};
use crate::io::redis::RedisOptions;
use crate::server::redis::commands::Names;
use std::path::{Path, PathBuf};

/// Its port, unless another is given.
const PORT: u16 = 6379;

/// The parts of `redis://[user[:password]@]host[:port][/0]`, or of `unix:///path`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    host: String,
    port: Option<u16>,
    socket: Option<PathBuf>,
    username: String,
    password: String,
}

/// Whether this URL says where a Redis is that can be used.
pub(super) fn is_url(value: &str) -> bool {
    place(value).is_some()
}

/// Whether this is a port, or an address as Kubernetes and Docker write it into the variable of a service that is called Redis.
pub(super) fn is_port(value: &str) -> bool {
    port(value).is_some() || address(value).is_some()
}

fn port(value: &str) -> Option<u16> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|port| digits && *port > 0)
}

/// `tcp://host:port`.
fn address(value: &str) -> Option<(String, u16)> {
    let (host, given) = host_port(value.strip_prefix("tcp://")?)?;
    Some((host, given?))
}

/// A host and perhaps a port; an IPv6 address stands in brackets.
fn host_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, rest)) => (host, rest),
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(given) => Some(port(given)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    (!host.is_empty() && Allowed::Host.permits(host)).then(|| (host.to_owned(), port))
}

fn place(url: &str) -> Option<Place> {
    if let Some(path) = url.strip_prefix("unix://") {
        return path.starts_with('/').then(|| Place { socket: Some(path.into()), ..Place::default() });
    }
    let rest = url.strip_prefix("redis://")?;
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (who, place) = place.rsplit_once('@').unwrap_or(("", place));
    let (username, password) = who.split_once(':').unwrap_or((who, ""));
    let (host, port) = host_port(place)?;
    let plain = matches!(database, "" | "0");
    plain.then_some(Place { host, port, socket: None, username: decoded(username)?, password: decoded(password)? })
}

/// `%40` is `@`, as in every URL.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// A value that is not to be printed as it is.
pub(super) fn hidden(name: &str, value: &str) -> String {
    match (name, value.split_once("://"), value.rsplit_once('@')) {
        ("REDIS_URL", Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
        ("REDIS_URL", None, Some((_, place))) => format!("***@{place}"),
        _ => value.to_owned(),
    }
}

/// The content of a file that holds a secret, without the line's end.
pub(super) fn secret(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(path)).ok()?;
    Some(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Variables that say the same: the second must be unset beside the first.
const TWICE: [(&str, &str); 5] = [
    ("REDIS_URL", "REDIS_HOST"),
    ("REDIS_URL", "REDIS_USERNAME"),
    ("REDIS_PASSWORD", "REDIS_PASSWORD_FILE"),
    ("CLUSTER_SECRET", "CLUSTER_SECRET_FILE"),
    ("AUTH_TOKEN", "AUTH_TOKEN_FILE"),
];

/// What is said twice.
pub(super) fn twice(given: impl Fn(&str) -> Option<String>) -> Vec<ConfigError> {
    let mut errors: Vec<ConfigError> = Vec::new();
    for (first, second) in TWICE {
        if let (Some(_), Some(value)) = (given(first), given(second)) {
            errors.push(ConfigError { name: second, value, allowed: Allowed::UnsetBeside(first) });
        }
    }
    errors
}

/// From values that are allowed, or empty; and whether they say where Redis is.
pub(super) fn options(text: impl Fn(&'static str) -> String) -> (RedisOptions, bool) {
    let names = Names { streams: text("STREAM_PREFIX"), sessions: text("SESSION_PREFIX") };
    let url = place(&text("REDIS_URL"));
    let (host, given_port) = (text("REDIS_HOST"), text("REDIS_PORT"));
    // Kubernetes gives the port of a service by its address; a host of one's own counts more.
    let service = address(&given_port);
    let said = url.is_some() || !host.is_empty() || service.is_some();
    let port = port(&given_port).or(service.as_ref().map(|(_, port)| *port)).unwrap_or(PORT);
    let host = match (host.is_empty(), service) {
        (false, _) => host,
        (true, Some((host, _))) => host,
        (true, None) => "localhost".to_owned(),
    };
    let own = Place { host, port: Some(port), socket: None, username: text("REDIS_USERNAME"), password: String::new() };
    let Place { host, port, socket, username, password } = url.unwrap_or(own);
    let file = secret(&text("REDIS_PASSWORD_FILE"));
    let password = if password.is_empty() { file.unwrap_or_else(|| text("REDIS_PASSWORD")) } else { password };
    (RedisOptions { host, port: port.unwrap_or(PORT), socket, username, password, names }, said)
}

#[cfg(test)]
mod tests {
    use crate::app::config::{Adapter, Config};

    fn parse(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::parse(get).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn where_redis_is() {
        let file = std::env::temp_dir().join(format!("rill-password-{}", std::process::id()));
        std::fs::write(&file, "from a file\r\n").unwrap();
        let file_name = file.to_str().unwrap();
        for (pairs, place, user, password, adapter) in [
            (&[][..], "localhost:6379", "", "", Adapter::Try),
            (&[("REDIS_HOST", "redis")], "redis:6379", "", "", Adapter::Redis),
            (&[("REDIS_HOST", "::1"), ("REDIS_PORT", "7000")], "[::1]:7000", "", "", Adapter::Redis),
            (&[("REDIS_PORT", "7000")], "localhost:7000", "", "", Adapter::Try),
            (&[("REDIS_PORT", "tcp://10.96.0.7:6380")], "10.96.0.7:6380", "", "", Adapter::Redis),
            (&[("REDIS_PORT", "tcp://[fd00::7]:6380")], "[fd00::7]:6380", "", "", Adapter::Redis),
            (&[("REDIS_HOST", "redis"), ("REDIS_PORT", "tcp://10.96.0.7:6380")], "redis:6380", "", "", Adapter::Redis),
            (&[("REDIS_PORT", "tcp://10.96.0.7:1"), ("ADAPTER", "memory")], "10.96.0.7:1", "", "", Adapter::Memory),
            (&[("REDIS_URL", "redis://r.example")], "r.example:6379", "", "", Adapter::Redis),
            (&[("REDIS_URL", "redis://u:p%40%3a@r.example:7000/0")], "r.example:7000", "u", "p@:", Adapter::Redis),
            (&[("REDIS_URL", "redis://:p@[::1]/")], "[::1]:6379", "", "p", Adapter::Redis),
            (&[("REDIS_URL", "redis://u@r"), ("REDIS_PASSWORD", "x")], "r:6379", "u", "x", Adapter::Redis),
            (&[("REDIS_URL", "redis://r"), ("REDIS_PORT", "tcp://10.0.0.1:9")], "r:6379", "", "", Adapter::Redis),
            (&[("REDIS_URL", "unix:///run/redis.sock")], "unix:/run/redis.sock", "", "", Adapter::Redis),
            (&[("REDIS_HOST", "r"), ("REDIS_USERNAME", "u")], "r:6379", "u", "", Adapter::Redis),
            (&[("REDIS_HOST", "r"), ("REDIS_PASSWORD_FILE", file_name)], "r:6379", "", "from a file", Adapter::Redis),
            (&[("REDIS_HOST", "r"), ("REDIS_DB", "0")], "r:6379", "", "", Adapter::Redis),
        ] {
            let config = parse(pairs).unwrap();
            let redis = &config.redis;
            let found = (redis.place(), &*redis.username, &*redis.password, config.adapter);
            assert_eq!(found, (place.to_owned(), user, password, adapter), "{pairs:?}");
        }
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn what_is_not_supported_is_told_in_one_line() {
        for (pairs, told) in [
            (&[("REDIS_URL", "rediss://u:hunter2@r")][..], "stunnel"),
            (&[("REDIS_URL", "redis://u:hunter2@r/3")], "a URL"),
            (&[("REDIS_URL", "redis://u:hunter2@")], "a URL"),
            (&[("REDIS_URL", "redis://u:hunter2@r:0")], "a URL"),
            (&[("REDIS_URL", "redis-sentinel://u:hunter2@r")], "a URL"),
            (&[("REDIS_URL", "unix://run/redis.sock")], "unix:///path"),
            (&[("REDIS_URL", "hunter2@r")], "a URL"),
            (&[("REDIS_DB", "3")], "SELECT"),
            (&[("REDIS_PORT", "tcp://10.0.0.1")], "tcp://host:port"),
            (&[("REDIS_PORT", "udp://10.0.0.1:9")], "tcp://host:port"),
            (&[("REDIS_PORT", "0")], "1 to 65535"),
            (&[("REDIS_PASSWORD_FILE", "/nowhere/at/all")], "a file"),
            (&[("REDIS_PASSWORD_FILE", "Cargo.toml"), ("REDIS_PASSWORD", "x")], "unset beside REDIS_PASSWORD"),
            (&[("REDIS_URL", "redis://r"), ("REDIS_HOST", "r")], "unset beside REDIS_URL"),
            (&[("STREAM_PREFIX", "{rill"), ("SESSION_PREFIX", "x y")], "SESSION_PREFIX"),
        ] {
            let line = parse(pairs).unwrap_err();
            assert!(line.lines().count() == 1 && line.contains(told), "{line}");
            assert!(!line.contains("hunter2"), "{line}");
        }
        let config = parse(&[("STREAM_PREFIX", "{rill}a"), ("SESSION_PREFIX", "{rill}b:")]).unwrap();
        assert_eq!(config.redis.names.streams, "{rill}a");
    }
}
