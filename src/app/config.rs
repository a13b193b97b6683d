//! The environment: one table drives parsing, `rill help env` and the README.
//!
//! A bad value is one line that names the variable, the value and what is allowed; the process then ends with status 2.

use super::log::visible;
use crate::limits::Limits;
use crate::server::{Cors, Options, Recovery};
use std::fmt;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// One variable of the environment.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value when it is unset; empty: none.
    pub default: &'static str,
    /// What it may be.
    pub allowed: &'static str,
    /// What it does.
    pub what: &'static str,
}

const fn var(name: &'static str, default: &'static str, allowed: &'static str, what: &'static str) -> Variable {
    Variable { name, default, allowed, what }
}

/// All variables, in the order in which people look for them.
pub const VARIABLES: [Variable; 19] = [
    var("HOST", "0.0.0.0", "an IP address", "address to listen on"),
    var("PORT", "3000", "1 to 65535", "port to listen on"),
    var("AUTOSTART", "0", "0 or 1", "1 starts the server without waiting for `start`"),
    var(
        "SERVER_ID",
        "",
        "up to 64 letters, digits, - _ .",
        "name of this server in messages and logs; made up when unset",
    ),
    var(
        "NODE_ENV",
        "production",
        "production or development",
        "`development` logs connects, disconnects and joins too",
    ),
    var("ADAPTER", "auto", "auto, redis or memory", "where the log lives; `auto` is memory unless `REDIS_HOST` is set"),
    var("REDIS_HOST", "", "a host name", "not used by this version, which has the in-memory log alone"),
    var("REDIS_PORT", "6379", "1 to 65535", "as above"),
    var("REDIS_USERNAME", "", "any text", "as above"),
    var("REDIS_PASSWORD", "", "any text", "as above; never printed"),
    var("ADVERTISE_ADDR", "", "host:port", "as above"),
    var(
        "CORS_ORIGIN",
        "",
        "* or origins, separated by commas",
        "pages that may use the server from a browser; empty: those of its own origin",
    ),
    var("PING_INTERVAL_MS", "25000", "100 to 3600000", "from a pong to the next ping"),
    var("PING_TIMEOUT_MS", "20000", "100 to 3600000", "for a pong to arrive"),
    var("MAX_PAYLOAD", "1000000", "100 to 100000000", "bytes of a request body, packet or WebSocket message"),
    var(
        "RECOVERY_WINDOW_MS",
        "120000",
        "0 to 86400000",
        "how long a client may be away and recover; 0 switches recovery off",
    ),
    var("MAX_CONNECTIONS", "100000", "1 to 10000000", "connections at once; the limit of open files counts too"),
    var("STREAM_PREFIX", "socket.io", "up to 64 letters, digits, - _ . :", "not used by this version"),
    var("SESSION_PREFIX", "sio:session:", "up to 64 letters, digits, - _ . :", "not used by this version"),
];

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on.
    pub host: std::net::IpAddr,
    /// Port to listen on.
    pub port: u16,
    /// Start without waiting for the command.
    pub autostart: bool,
    /// The server's name, if one was given.
    pub server_id: Option<String>,
    /// Log more.
    pub development: bool,
    /// A Redis log is asked for, which this version does not have.
    pub wants_redis: bool,
    /// The in-memory log was not asked for, but chosen.
    pub chose_memory: bool,
    /// Pages of other origins.
    pub cors: Cors,
    /// Milliseconds.
    pub ping_interval_ms: u64,
    /// Milliseconds.
    pub ping_timeout_ms: u64,
    /// Bytes.
    pub max_payload: usize,
    /// Milliseconds; 0 is off.
    pub recovery_window_ms: u64,
    /// Connections at once.
    pub max_connections: usize,
}

/// A value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    name: &'static str,
    value: String,
    allowed: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[SERVER] {}={} is not allowed: it must be {}", self.name, visible(&self.value), self.allowed)
    }
}

impl std::error::Error for ConfigError {}

/// Reads variables and collects what is wrong with them.
struct Reader<F> {
    get: F,
    errors: Vec<ConfigError>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    /// The value of a variable, or its default; an empty value counts as unset.
    fn text(&self, name: &str) -> String {
        let default = VARIABLES.iter().find(|variable| variable.name == name).map_or("", |variable| variable.default);
        (self.get)(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
    }

    fn wrong(&mut self, name: &str, value: String) {
        if let Some(variable) = VARIABLES.iter().find(|variable| variable.name == name) {
            self.errors.push(ConfigError { name: variable.name, value, allowed: variable.allowed });
        }
    }

    fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> u64 {
        let value = self.text(name);
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match value.parse::<u64>() {
            Ok(number) if digits && range.contains(&number) => number,
            Ok(_) | Err(_) => {
                self.wrong(name, value);
                *range.start()
            }
        }
    }

    /// Which of `choices` the value is.
    fn choice(&mut self, name: &str, choices: &[&str]) -> usize {
        let value = self.text(name);
        choices.iter().position(|choice| *choice == value).unwrap_or_else(|| {
            self.wrong(name, value);
            0
        })
    }

    fn name(&mut self, name: &str, more: &str) -> Option<String> {
        let value = self.text(name);
        let legal = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
        if value.len() > 64 || !value.chars().all(legal) {
            self.wrong(name, value);
            return None;
        }
        Some(value).filter(|value| !value.is_empty())
    }

    fn cors(&mut self) -> Cors {
        let value = self.text("CORS_ORIGIN");
        let origins: Vec<String> =
            value.split(',').map(|origin| origin.trim().trim_end_matches('/').to_owned()).collect();
        match value.as_str() {
            "" => Cors::Off,
            "*" => Cors::Any,
            _ if origins.iter().all(|origin| origin.starts_with("http://") || origin.starts_with("https://")) => {
                Cors::Origins(origins)
            }
            _ => {
                self.wrong("CORS_ORIGIN", value);
                Cors::Off
            }
        }
    }
}

impl Config {
    /// Reads the environment through `get`; all bad values are reported, not the first alone.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<ConfigError>> {
        let mut reader = Reader { get, errors: Vec::new() };
        let host = reader.text("HOST").parse().unwrap_or_else(|_| {
            reader.wrong("HOST", reader.text("HOST"));
            std::net::Ipv4Addr::UNSPECIFIED.into()
        });
        let adapter = reader.choice("ADAPTER", &["auto", "redis", "memory"]);
        let redis_host = reader.text("REDIS_HOST");
        reader.number("REDIS_PORT", 1..=65_535);
        reader.name("STREAM_PREFIX", "-_.:");
        reader.name("SESSION_PREFIX", "-_.:");
        let config = Config {
            host,
            port: u16::try_from(reader.number("PORT", 1..=65_535)).unwrap_or(3000),
            autostart: reader.choice("AUTOSTART", &["0", "1"]) == 1,
            server_id: reader.name("SERVER_ID", "-_."),
            development: reader.choice("NODE_ENV", &["production", "development"]) == 1,
            wants_redis: adapter == 1 || (adapter == 0 && !redis_host.is_empty()),
            chose_memory: adapter == 0 && redis_host.is_empty(),
            cors: reader.cors(),
            ping_interval_ms: reader.number("PING_INTERVAL_MS", 100..=3_600_000),
            ping_timeout_ms: reader.number("PING_TIMEOUT_MS", 100..=3_600_000),
            max_payload: reader.number("MAX_PAYLOAD", 100..=100_000_000) as usize,
            recovery_window_ms: reader.number("RECOVERY_WINDOW_MS", 0..=86_400_000),
            max_connections: reader.number("MAX_CONNECTIONS", 1..=10_000_000) as usize,
        };
        match reader.errors.is_empty() {
            true => Ok(config),
            false => Err(reader.errors),
        }
    }

    /// The library's options for this configuration.
    #[must_use]
    pub fn options(&self) -> Options {
        let recovery = Recovery { window_ms: self.recovery_window_ms, ..Recovery::default() };
        // A packet as large as is allowed must fit into what may wait for a client, several times.
        let defaults = Limits::default();
        let limits = Limits {
            max_payload: self.max_payload,
            connections: self.max_connections,
            unsent_bytes: defaults.unsent_bytes.max(self.max_payload * 4),
            ..defaults
        };
        Options {
            ping_interval_ms: self.ping_interval_ms,
            ping_timeout_ms: self.ping_timeout_ms,
            cors: self.cors.clone(),
            recovery: (self.recovery_window_ms > 0).then_some(recovery),
            limits,
            ..Options::default()
        }
    }
}

/// The table as Markdown, for `rill help env` and the README.
#[must_use]
pub fn table() -> String {
    let mut table = "| variable | default | allowed | what it does |\n|---|---|---|---|\n".to_owned();
    for Variable { name, default, allowed, what } in &VARIABLES {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let _ = writeln!(table, "| `{name}` | {default} | {allowed} | {what} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::parse(get).map_err(|errors| errors.iter().map(ConfigError::to_string).collect())
    }

    #[test]
    fn the_defaults_are_allowed_and_are_the_librarys() {
        let config = parse(&[]).unwrap();
        let (options, defaults) = (config.options(), Options::default());
        assert_eq!(
            (config.port, config.autostart, config.wants_redis, config.chose_memory),
            (3000, false, false, true)
        );
        assert_eq!(options.ping_interval_ms, defaults.ping_interval_ms);
        assert_eq!(options.ping_timeout_ms, defaults.ping_timeout_ms);
        assert_eq!(options.limits.max_payload, defaults.limits.max_payload);
        assert_eq!(options.limits.connections, defaults.limits.connections);
        assert_eq!(options.recovery.unwrap().window_ms, defaults.recovery.unwrap().window_ms);
    }

    #[test]
    fn each_bad_value_is_one_line() {
        for (name, value) in [
            ("HOST", "everywhere"),
            ("PORT", "0"),
            ("PORT", "+80"),
            ("PORT", "70000"),
            ("AUTOSTART", "yes"),
            ("SERVER_ID", "a b"),
            ("NODE_ENV", "test"),
            ("ADAPTER", "\u{1b}[2J\nmongo"),
            ("REDIS_PORT", "x"),
            ("CORS_ORIGIN", "example.com"),
            ("PING_INTERVAL_MS", "-5"),
            ("PING_TIMEOUT_MS", "1.5"),
            ("MAX_PAYLOAD", "1MB"),
            ("RECOVERY_WINDOW_MS", "99999999999999999999999"),
            ("MAX_CONNECTIONS", ""),
        ] {
            match parse(&[(name, value)]) {
                Ok(_) => assert_eq!(value, "", "{name}"),
                Err(lines) => {
                    assert_eq!(lines.len(), 1, "{lines:?}");
                    assert!(lines[0].contains(name) && lines[0].contains(&*visible(value)), "{lines:?}");
                    assert!(!lines[0].contains(['\n', '\u{1b}']), "{lines:?}");
                }
            }
        }
        assert_eq!(parse(&[("PORT", "x"), ("HOST", "y")]).unwrap_err().len(), 2);
    }

    #[test]
    fn adapters_and_origins() {
        assert!(parse(&[("ADAPTER", "redis")]).unwrap().wants_redis);
        assert!(parse(&[("REDIS_HOST", "redis")]).unwrap().wants_redis);
        assert!(!parse(&[("REDIS_HOST", "redis"), ("ADAPTER", "memory")]).unwrap().wants_redis);
        assert_eq!(parse(&[("CORS_ORIGIN", "*")]).unwrap().cors, Cors::Any);
        let listed = Cors::Origins(vec!["https://a.example".to_owned(), "http://b.example:8080".to_owned()]);
        assert_eq!(parse(&[("CORS_ORIGIN", "https://a.example/, http://b.example:8080")]).unwrap().cors, listed);
        assert!(parse(&[("RECOVERY_WINDOW_MS", "0")]).unwrap().options().recovery.is_none());
    }

    #[test]
    fn the_readme_has_this_table() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let between = readme.split("<!-- env -->").nth(1).and_then(|rest| rest.split("<!-- /env -->").next()).unwrap();
        assert_eq!(between.trim(), table().trim());
    }
}
