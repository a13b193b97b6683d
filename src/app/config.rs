//! The environment: one table drives parsing, `rill help env` and docs/configuration.md.
//!
//! A bad value is one line that names the variable, the value and what is allowed; the process then ends with status 2.

use super::network::Network;
use super::redis_config;
use crate::codec::origin::Origin;
use crate::io::redis::RedisOptions;
use crate::limits::Limits;
use crate::server::notice::{Level, visible};
use crate::server::{Cors, Options, Recovery, Trusts};
use std::fmt;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What a variable may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// A whole number in decimal digits, from the first to the second.
    Number(u64, u64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Up to 64 letters, digits and these.
    Name(&'static str),
    /// An IP address.
    Address,
    /// The name or address of a host.
    Host,
    /// The name or address of a host, and a port.
    HostPort,
    /// An IP address and a port to listen on, or `off`.
    Listen,
    /// `*`, or origins separated by commas.
    Origins,
    /// Addresses or networks such as `10.0.0.0/8`, separated by commas.
    Networks,
    /// A folder that is there.
    Folder,
    /// A file that is not empty.
    Secret,
    /// Where Redis is, as a URL.
    RedisUrl,
    /// Redis's port.
    RedisPort,
    /// Redis's database.
    Database,
    /// A file that can be read.
    File,
    /// Nothing, because another variable says it already.
    UnsetBeside(&'static str),
    /// Where requests are answered: names between slashes.
    Path,
    /// Anything.
    Text,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Number(least, most) => write!(f, "{least} to {most}"),
            Allowed::OneOf([one, two]) => write!(f, "{one} or {two}"),
            Allowed::OneOf([more @ .., last]) => write!(f, "{} or {last}", more.join(", ")),
            Allowed::OneOf([]) => f.write_str("nothing"),
            Allowed::Name(more) => {
                f.write_str("up to 64 letters, digits,")?;
                more.chars().try_for_each(|c| write!(f, " {c}"))
            }
            Allowed::Address => f.write_str("an IP address"),
            Allowed::Host => f.write_str("a host name"),
            Allowed::HostPort => f.write_str("host:port"),
            Allowed::Listen => f.write_str("an IP address and port such as 127.0.0.1:9100, or off"),
            Allowed::Origins => {
                f.write_str("* or origins, such as https://example.org, https://*.example.org, null or file://, separated by commas")
            }
            Allowed::Networks => f.write_str("addresses or networks such as 10.0.0.0/8, separated by commas"),
            Allowed::Folder => f.write_str("a folder"),
            Allowed::Secret => f.write_str("a file that is not empty"),
            Allowed::RedisUrl => f.write_str(
                "a URL redis://[user:password@]host[:port] or unix:///path; for TLS, a stunnel beside the server (docs/operating.md)",
            ),
            Allowed::RedisPort => f.write_str("1 to 65535, or tcp://host:port as Kubernetes sets it"),
            Allowed::Database => {
                f.write_str("0: another takes SELECT, which no server sends; STREAM_PREFIX and SESSION_PREFIX keep apart, too")
            }
            Allowed::File => f.write_str("a file that can be read"),
            Allowed::UnsetBeside(other) => write!(f, "unset beside {other}"),
            Allowed::Path => f.write_str("a path such as /socket.io/"),
            Allowed::Text => f.write_str("any text"),
        }
    }
}

impl Allowed {
    pub(super) fn permits(self, value: &str) -> bool {
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Allowed::Number(least, most) => {
                digits && value.parse::<u64>().is_ok_and(|number| (least..=most).contains(&number))
            }
            Allowed::OneOf(words) => words.contains(&value),
            Allowed::Name(more) => value.len() <= 64 && has_only(value, more),
            Allowed::Address => value.parse::<IpAddr>().is_ok(),
            Allowed::Host => has_only(value, "-_.:"),
            Allowed::HostPort => value.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && has_only(host, "-_.:[]") && Allowed::Number(1, 65_535).permits(port)
            }),
            Allowed::Listen => value == "off" || value.parse::<SocketAddr>().is_ok_and(|address| address.port() > 0),
            Allowed::Origins => value == "*" || value.split(',').all(|origin| Origin::parse(origin.trim()).is_some()),
            Allowed::Networks => value.split(',').all(|network| Network::parse(network.trim()).is_some()),
            Allowed::Folder => Path::new(value).is_dir(),
            Allowed::Secret => redis_config::secret(value).is_some_and(|token| !token.is_empty()),
            Allowed::RedisUrl => redis_config::is_url(value),
            Allowed::RedisPort => redis_config::is_port(value),
            Allowed::Database => value == "0",
            Allowed::File => redis_config::secret(value).is_some(),
            Allowed::UnsetBeside(_) => value.is_empty(),
            Allowed::Path => {
                let names = value.strip_prefix('/').map(|rest| rest.strip_suffix('/').unwrap_or(rest).split('/'));
                let is_name = |name: &str| !matches!(name, "" | "." | "..") && has_only(name, "-_.~");
                names.is_some_and(|mut names| names.all(is_name))
            }
            Allowed::Text => true,
        }
    }
}

/// Whether there is nothing but ASCII letters, digits and `more`.
fn has_only(value: &str, more: &str) -> bool {
    value.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// One variable of the environment.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its value when it is unset; empty: none.
    pub default: &'static str,
    /// What it may be.
    pub allowed: Allowed,
    /// What it does.
    pub what: &'static str,
}

const fn var(name: &'static str, default: &'static str, allowed: Allowed, what: &'static str) -> Variable {
    Variable { name, default, allowed, what }
}

const PORTS: Allowed = Allowed::Number(1, 65_535);
const HEARTBEATS: Allowed = Allowed::Number(100, 3_600_000);
const FLAG: Allowed = Allowed::OneOf(&["0", "1"]);

/// All variables, in the order in which people look for them.
pub const VARIABLES: [Variable; 38] = [
    var("HOST", "0.0.0.0", Allowed::Address, "address to listen on"),
    var("PORT", "3000", PORTS, "port to listen on"),
    var("AUTOSTART", "0", FLAG, "1 starts the server without waiting for `start`"),
    var("SERVER_ID", "", Allowed::Name("-_."), "name of this server in messages and logs; made up when unset"),
    var(
        "NODE_ENV",
        "production",
        Allowed::Text,
        "`development` sets `LOG_LEVEL` to `debug`; everything else is taken as `production`",
    ),
    var(
        "LOG_LEVEL",
        "",
        Allowed::OneOf(&["error", "warn", "info", "debug"]),
        "what is logged; `debug`: connects, joins, disconnects and refused requests too; unset: `info`",
    ),
    var(
        "LOG_FORMAT",
        "text",
        Allowed::OneOf(&["text", "plain", "json"]),
        "`text`: time, level, tag, message; `plain`: without time and level; `json`: an object a line, with what it is about",
    ),
    var(
        "ADAPTER",
        "auto",
        Allowed::OneOf(&["auto", "redis", "memory"]),
        "where the log lives; `auto` is Redis where `REDIS_HOST` is set or one listens on this host, else memory",
    ),
    var("REDIS_HOST", "", Allowed::Host, "host of Redis; unset: localhost"),
    var(
        "REDIS_PORT",
        "6379",
        Allowed::RedisPort,
        "its port; the host of an address counts where `REDIS_HOST` is unset",
    ),
    var("REDIS_USERNAME", "", Allowed::Text, "its user; unset: the default one"),
    var(
        "REDIS_PASSWORD",
        "",
        Allowed::Text,
        "its password; unset: none is sent, unless there is a user; never printed",
    ),
    var("REDIS_PASSWORD_FILE", "", Allowed::File, "a file that has the password"),
    var("REDIS_URL", "", Allowed::RedisUrl, "host, port, user and password in one, or a Unix socket"),
    var("REDIS_DB", "0", Allowed::Database, "its database"),
    var(
        "CLUSTER_SECRET",
        "",
        Allowed::Text,
        "what the servers of a cluster prove themselves to each other with, the same for all; unset: whoever may write to Redis is believed",
    ),
    var("CLUSTER_SECRET_FILE", "", Allowed::File, "a file that has it"),
    var(
        "LOG_BYTES",
        "268435456",
        Allowed::Number(1_048_576, 1_099_511_627_776),
        "bytes of one namespace's log, in memory or on Redis; beyond, the oldest entries go, whatever the window",
    ),
    var(
        "ADVERTISE_ADDR",
        "",
        Allowed::HostPort,
        "where the other servers reach this one; unset: its address on the way to Redis, and `PORT`",
    ),
    var(
        "SOCKET_PATH",
        "/socket.io/",
        Allowed::Path,
        "where clients connect, their option `path`; and below it, the browser client",
    ),
    var(
        "CORS_ORIGIN",
        "",
        Allowed::Origins,
        "pages that may use the server beside its own; all others are refused; empty: others can't poll, but may open a WebSocket",
    ),
    var(
        "CLIENT_DIR",
        "",
        Allowed::Folder,
        "files of the official browser client, as `scripts/client-files` fetches them; unset: `client-files` here or beside the program",
    ),
    var("PAGE", "1", FLAG, "0 takes the room page off the server; the browser client's files stay"),
    var(
        "METRICS_ADDR",
        "",
        Allowed::Listen,
        "where `/metrics` is served, on a port of its own; `off`: nowhere; unset: beside everything else, for whoever reaches the port",
    ),
    var(
        "AUTH_TOKEN",
        "",
        Allowed::Text,
        "what clients must send as `auth.token`; unset: everybody may join; never printed",
    ),
    var("AUTH_TOKEN_FILE", "", Allowed::Secret, "a file with that token, for secrets; unset beside `AUTH_TOKEN`"),
    var("PING_INTERVAL_MS", "25000", HEARTBEATS, "from a pong to the next ping"),
    var("PING_TIMEOUT_MS", "20000", HEARTBEATS, "for a pong to arrive"),
    var(
        "KEEP_ALIVE_MS",
        "75000",
        Allowed::Number(1_000, 3_600_000),
        "how long an HTTP connection may rest between two requests; a proxy in front must close its own sooner",
    ),
    var(
        "MAX_PAYLOAD",
        "1000000",
        Allowed::Number(100, 100_000_000),
        "bytes of a request body, packet or WebSocket message",
    ),
    var(
        "RECOVERY_WINDOW_MS",
        "120000",
        Allowed::Number(0, 86_400_000),
        "how long a client may be away and recover; 0 switches recovery off",
    ),
    var(
        "MAX_CONNECTIONS",
        "100000",
        Allowed::Number(1, 10_000_000),
        "connections at once; the limit of open files counts too",
    ),
    var(
        "MAX_CONNECTIONS_PER_ADDRESS",
        "",
        Allowed::Number(0, 10_000_000),
        "of one address, or /64 of IPv6, at once; 0: no bound; unset: 10000, but none for addresses that are not public, such as a proxy's",
    ),
    var(
        "NEW_CONNECTIONS_PER_SECOND",
        "",
        Allowed::Number(0, 1_000_000),
        "of one address, a minute's at once; 0: no bound; unset: 200, but none for addresses that are not public",
    ),
    var(
        "EVENTS_PER_SECOND",
        "1000",
        Allowed::Number(0, 1_000_000),
        "of one client, ten seconds' at once; who sends more is read more slowly; 0: no bound",
    ),
    var("STREAM_PREFIX", "socket.io", Allowed::Name("-_.:{}"), "how the keys of logs and inboxes begin"),
    var("SESSION_PREFIX", "sio:session:", Allowed::Name("-_.:{}"), "how the keys of sessions begin"),
    var(
        "TRUSTED_PROXIES",
        "",
        Allowed::Networks,
        "proxies that are believed: `X-Forwarded-For`, `-Host` and `-Proto`, or `Forwarded`; and the PROXY protocol, versions 1 and 2",
    ),
];

/// Connections of one address: more than all people of a school or a mobile provider's gateway have open on one site.
const PER_ADDRESS: usize = 10_000;
/// New ones a second: after a minute of rest they all come back together.
const NEW_PER_SECOND: usize = 200;

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on.
    pub port: u16,
    /// Start without waiting for the command.
    pub autostart: bool,
    /// The server's name, if one was given.
    pub server_id: Option<String>,
    /// A value of `NODE_ENV` that means nothing here, and is taken as `production`.
    pub odd_node_env: Option<String>,
    /// What is logged.
    pub log_level: Level,
    /// How it looks.
    pub log_format: LogFormat,
    /// Where the log lives.
    pub adapter: Adapter,
    /// Redis.
    pub redis: RedisOptions,
    /// What servers prove themselves to each other with; empty: nothing.
    pub cluster_secret: Secret,
    /// Bytes of one log.
    pub log_bytes: usize,
    /// Where other servers reach this one, if it was told.
    pub advertise: Option<String>,
    /// Proxies whose word on the client's address is believed.
    pub trusted_proxies: Vec<Network>,
    /// Where clients connect, with a slash at its end.
    pub path: String,
    /// Pages of other origins.
    pub cors: Cors,
    /// Where the official browser client is, if that was said.
    pub client_dir: Option<PathBuf>,
    /// There is a room page.
    pub page: bool,
    /// Where `/metrics` is served.
    pub metrics: MetricsAt,
    /// What clients must send; `None`: everybody may join.
    pub auth_token: Secret,
    /// Milliseconds.
    pub ping_interval_ms: u64,
    /// Milliseconds.
    pub ping_timeout_ms: u64,
    /// Milliseconds.
    pub keep_alive_ms: u64,
    /// Bytes.
    pub max_payload: usize,
    /// Milliseconds; 0 is off.
    pub recovery_window_ms: u64,
    /// Connections at once.
    pub max_connections: usize,
    /// And of one address, if that was said; 0 is off.
    pub per_address: Option<usize>,
    /// New ones a second of one address, if that was said; 0 is off.
    pub new_per_second: Option<usize>,
    /// Of one client; 0 is off.
    pub events_per_second: usize,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// With time and level.
    Text,
    /// Without.
    Plain,
    /// Objects.
    Json,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Option<String>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "***" } else { "none" })
    }
}

/// Where the log lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// In Redis.
    Redis,
    /// In this process.
    Memory,
    /// In Redis if one listens on this host, else in this process.
    Try,
}

/// Where `/metrics` is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsAt {
    /// On the port of everything else.
    PublicPort,
    /// There alone.
    Address(SocketAddr),
    /// Nowhere.
    Nowhere,
}

/// A value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) allowed: Allowed,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[SERVER] {}={} is not allowed: it must be {}",
            self.name,
            visible(&redis_config::hidden(self.name, &self.value)),
            self.allowed
        )
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the environment through `get`; all bad values are reported, not the first alone. An empty value counts as unset.
    ///
    /// # Errors
    /// One for each variable with a bad value.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> Result<Config, Vec<ConfigError>> {
        let given = |name: &str| get(name).filter(|value| !value.is_empty());
        let wrong = |variable: &Variable| {
            let value = given(variable.name).filter(|value| !variable.allowed.permits(value))?;
            Some(ConfigError { name: variable.name, value, allowed: variable.allowed })
        };
        let mut errors: Vec<ConfigError> = VARIABLES.iter().filter_map(wrong).collect();
        errors.extend(redis_config::twice(given));
        if !errors.is_empty() {
            return Err(errors);
        }
        let default = |name| VARIABLES.iter().find(|variable| variable.name == name).map_or("", |known| known.default);
        Ok(Config::from_values(|name| given(name).unwrap_or_else(|| default(name).to_owned())))
    }

    /// From values that are allowed, or empty.
    fn from_values(text: impl Fn(&'static str) -> String) -> Config {
        let number = |name| text(name).parse::<u64>().unwrap_or(0);
        let size = |name| usize::try_from(number(name)).unwrap_or(usize::MAX);
        let (adapter, node_env) = (text("ADAPTER"), text("NODE_ENV"));
        let (redis, is_said) = redis_config::options(&text);
        Config {
            host: text("HOST").parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
            port: u16::try_from(number("PORT")).unwrap_or(0),
            autostart: text("AUTOSTART") == "1",
            server_id: Some(text("SERVER_ID")).filter(|id| !id.is_empty()),
            odd_node_env: Some(node_env.clone()).filter(|env| !matches!(env.as_str(), "production" | "development")),
            log_level: Level::ALL.into_iter().find(|level| level.name() == text("LOG_LEVEL")).unwrap_or(match node_env
                .as_str()
            {
                "development" => Level::Debug,
                _ => Level::Info,
            }),
            log_format: match text("LOG_FORMAT").as_str() {
                "json" => LogFormat::Json,
                "plain" => LogFormat::Plain,
                _ => LogFormat::Text,
            },
            auth_token: Secret(
                redis_config::secret(&text("AUTH_TOKEN_FILE"))
                    .or_else(|| Some(text("AUTH_TOKEN")))
                    .filter(|token| !token.is_empty()),
            ),
            adapter: match adapter.as_str() {
                "memory" => Adapter::Memory,
                "auto" if !is_said => Adapter::Try,
                _ => Adapter::Redis,
            },
            redis,
            cluster_secret: Secret(
                redis_config::secret(&text("CLUSTER_SECRET_FILE"))
                    .or_else(|| Some(text("CLUSTER_SECRET")))
                    .filter(|secret| !secret.is_empty()),
            ),
            log_bytes: size("LOG_BYTES"),
            advertise: Some(text("ADVERTISE_ADDR")).filter(|address| !address.is_empty()),
            trusted_proxies: text("TRUSTED_PROXIES").split(',').filter_map(|n| Network::parse(n.trim())).collect(),
            path: format!("{}/", text("SOCKET_PATH").trim_end_matches('/')),
            cors: match text("CORS_ORIGIN").as_str() {
                "" => Cors::Off,
                "*" => Cors::Any,
                listed => Cors::Origins(listed.split(',').map(|origin| origin.trim().to_owned()).collect()),
            },
            client_dir: Some(text("CLIENT_DIR")).filter(|folder| !folder.is_empty()).map(PathBuf::from),
            page: text("PAGE") == "1",
            metrics: match text("METRICS_ADDR").as_str() {
                "" => MetricsAt::PublicPort,
                address => address.parse().map_or(MetricsAt::Nowhere, MetricsAt::Address),
            },
            ping_interval_ms: number("PING_INTERVAL_MS"),
            ping_timeout_ms: number("PING_TIMEOUT_MS"),
            keep_alive_ms: number("KEEP_ALIVE_MS"),
            max_payload: size("MAX_PAYLOAD"),
            recovery_window_ms: number("RECOVERY_WINDOW_MS"),
            max_connections: size("MAX_CONNECTIONS"),
            per_address: text("MAX_CONNECTIONS_PER_ADDRESS").parse().ok(),
            new_per_second: text("NEW_CONNECTIONS_PER_SECOND").parse().ok(),
            events_per_second: size("EVENTS_PER_SECOND"),
        }
    }

    fn trusts(&self) -> Option<Trusts> {
        let networks = self.trusted_proxies.clone();
        let trusts: Trusts = std::sync::Arc::new(move |peer| networks.iter().any(|network| network.contains(peer)));
        (!self.trusted_proxies.is_empty()).then_some(trusts)
    }

    /// The library's options for this configuration.
    #[must_use]
    pub fn options(&self) -> Options {
        // Who comes back must have the token too: it may be another one by now.
        let recovery = Recovery {
            window_ms: self.recovery_window_ms,
            skip_middlewares: self.auth_token.0.is_none(),
            ..Recovery::default()
        };
        // A packet as large as is allowed must fit into what may wait for a client, several times.
        let defaults = Limits::default();
        let limits = Limits {
            max_payload: self.max_payload,
            log_bytes: self.log_bytes,
            idle_ms: self.keep_alive_ms,
            connections: self.max_connections,
            sessions_per_address: self.per_address.map_or(PER_ADDRESS, |n| if n == 0 { usize::MAX } else { n }),
            new_sessions_per_second: self.new_per_second.unwrap_or(NEW_PER_SECOND),
            spare_local_addresses: self.per_address.is_none() && self.new_per_second.is_none(),
            events_per_second: self.events_per_second,
            // The room application begins nothing that would have to be waited for.
            finish_ms: 0,
            unsent_bytes: defaults.unsent_bytes.max(self.max_payload.saturating_mul(4)),
            attachments_bytes: self.max_payload.saturating_mul(defaults.attachments),
            fragments: defaults.fragments.max(self.max_payload / 1024),
            ..defaults
        };
        Options {
            ping_interval_ms: self.ping_interval_ms,
            ping_timeout_ms: self.ping_timeout_ms,
            path: self.path.clone(),
            cors: self.cors.clone(),
            recovery: (self.recovery_window_ms > 0).then_some(recovery),
            cluster_secret: self.cluster_secret.0.clone(),
            trusts: self.trusts(),
            limits,
            ..Options::default()
        }
    }
}

/// The table as Markdown, for `rill help env` and docs/configuration.md.
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
        assert_eq!((config.port, config.autostart, config.adapter), (3000, false, Adapter::Try));
        assert_eq!(options.ping_interval_ms, defaults.ping_interval_ms);
        assert_eq!(options.ping_timeout_ms, defaults.ping_timeout_ms);
        assert_eq!(options.limits.max_payload, defaults.limits.max_payload);
        assert_eq!(options.limits.connections, defaults.limits.connections);
        assert_eq!(options.limits.attachments_bytes, defaults.limits.attachments_bytes);
        assert_eq!(options.limits.fragments, defaults.limits.fragments);
        assert_eq!((options.limits.idle_ms, options.path), (defaults.limits.idle_ms, defaults.path));
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
            ("LOG_LEVEL", "loud"),
            ("AUTH_TOKEN_FILE", "no-such-file"),
            ("ADAPTER", "\u{1b}[2J\nmongo"),
            ("REDIS_PORT", "x"),
            ("REDIS_HOST", "redis\nhost"),
            ("ADVERTISE_ADDR", "10.0.0.1"),
            ("ADVERTISE_ADDR", ":3000"),
            ("ADVERTISE_ADDR", "host:99999"),
            ("STREAM_PREFIX", "a b"),
            ("SESSION_PREFIX", &"x".repeat(65)),
            ("PAGE", "no"),
            ("METRICS_ADDR", "9100"),
            ("METRICS_ADDR", "localhost:9100"),
            ("METRICS_ADDR", "127.0.0.1:0"),
            ("CLIENT_DIR", "no-such-folder"),
            ("CLIENT_DIR", "Cargo.toml"),
            ("CORS_ORIGIN", "example.com"),
            ("CORS_ORIGIN", "https://example.com/path"),
            ("CORS_ORIGIN", "https://a.example,,https://b.example"),
            ("CORS_ORIGIN", "*,https://a.example"),
            ("CORS_ORIGIN", "http://"),
            ("CORS_ORIGIN", "https://*"),
            ("SOCKET_PATH", "socket.io"),
            ("SOCKET_PATH", "/"),
            ("SOCKET_PATH", "//"),
            ("SOCKET_PATH", "/a/../b"),
            ("SOCKET_PATH", "/a b/"),
            ("SOCKET_PATH", "/a?b"),
            ("SOCKET_PATH", "/a%20b"),
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

    /// What has to grow with the largest message does.
    #[test]
    fn limits_that_follow_the_payload() {
        for (payload, fragments, attachments, unsent) in [
            ("100", 1_000, 1_000, 4 << 20),
            ("1024000", 1_000, 10_240_000, 4 << 20),
            ("1025024", 1_001, 10_250_240, 4 << 20),
            ("100000000", 97_656, 1_000_000_000, 400_000_000),
        ] {
            let limits = parse(&[("MAX_PAYLOAD", payload)]).unwrap().options().limits;
            assert_eq!(
                (limits.fragments, limits.attachments_bytes, limits.unsent_bytes),
                (fragments, attachments, unsent)
            );
        }
    }

    #[test]
    fn adapters_origins_and_paths() {
        let adapter = |pairs: &[(&str, &str)]| parse(pairs).unwrap().adapter;
        assert_eq!(adapter(&[("ADAPTER", "redis")]), Adapter::Redis);
        assert_eq!(adapter(&[("REDIS_HOST", "redis")]), Adapter::Redis);
        assert_eq!(adapter(&[("REDIS_HOST", "redis"), ("ADAPTER", "memory")]), Adapter::Memory);
        assert_eq!(parse(&[("CORS_ORIGIN", "*")]).unwrap().cors, Cors::Any);
        let listed = Cors::Origins(vec!["https://a.example/".to_owned(), "http://b.example:8080".to_owned()]);
        assert_eq!(parse(&[("CORS_ORIGIN", "https://a.example/, http://b.example:8080")]).unwrap().cors, listed);
        let apps = ["capacitor://localhost", "http://[::1]:3000", "null", "file://", "https://*.example.org"];
        let listed = Cors::Origins(apps.map(str::to_owned).into());
        assert_eq!(parse(&[("CORS_ORIGIN", &apps.join(","))]).unwrap().cors, listed);
        for (given, path) in [("/socket.io", "/socket.io/"), ("/a/b/", "/a/b/"), ("", "/socket.io/")] {
            assert_eq!(parse(&[("SOCKET_PATH", given)]).unwrap().options().path, path);
        }
        assert!(parse(&[("RECOVERY_WINDOW_MS", "0")]).unwrap().options().recovery.is_none());
    }

    #[test]
    fn levels_and_environments() {
        let level =
            |pairs: &[(&str, &str)]| parse(pairs).map(|config| (config.log_level, config.odd_node_env)).unwrap();
        assert_eq!(level(&[]), (Level::Info, None));
        assert_eq!(level(&[("NODE_ENV", "development")]), (Level::Debug, None));
        assert_eq!(level(&[("NODE_ENV", "development"), ("LOG_LEVEL", "warn")]), (Level::Warn, None));
        assert_eq!(level(&[("NODE_ENV", "staging")]), (Level::Info, Some("staging".to_owned())));
        assert_eq!(level(&[("NODE_ENV", "test"), ("LOG_LEVEL", "debug")]), (Level::Debug, Some("test".to_owned())));
    }

    #[test]
    fn a_token_comes_from_the_environment_or_from_a_file_and_is_never_printed() {
        let file = std::env::temp_dir().join(format!("rill-token-{}", std::process::id()));
        std::fs::write(&file, "from the file\n").unwrap();
        let path = file.to_str().unwrap();
        let token = |pairs: &[(&str, &str)]| parse(pairs).unwrap().auth_token.0;
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("AUTH_TOKEN_FILE", path)]).as_deref(), Some("from the file"));
        assert_eq!(token(&[("AUTH_TOKEN", "hunter2")]).as_deref(), Some("hunter2"));
        assert!(parse(&[("AUTH_TOKEN_FILE", path), ("AUTH_TOKEN", "hunter2")]).is_err());
        assert!(!format!("{:?}", parse(&[("AUTH_TOKEN", "hunter2")]).unwrap()).contains("hunter2"));
        std::fs::write(&file, "").unwrap();
        assert!(parse(&[("AUTH_TOKEN_FILE", path)]).is_err());
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn pages_and_metrics() {
        let at = |pairs: &[(&str, &str)]| parse(pairs).map(|config| (config.page, config.metrics)).unwrap();
        assert_eq!(at(&[]), (true, MetricsAt::PublicPort));
        assert_eq!(at(&[("PAGE", "0"), ("METRICS_ADDR", "off")]), (false, MetricsAt::Nowhere));
        let address = |text: &str| MetricsAt::Address(text.parse().unwrap());
        assert_eq!(at(&[("METRICS_ADDR", "127.0.0.1:9100")]).1, address("127.0.0.1:9100"));
        assert_eq!(at(&[("METRICS_ADDR", "[::1]:9100")]).1, address("[::1]:9100"));
    }

    /// What the table says is what is parsed, for each number to the unit; defaults are allowed, and no other text is.
    #[test]
    fn the_table_is_true() {
        for Variable { name, default, allowed, .. } in &VARIABLES {
            assert!(default.is_empty() || allowed.permits(default), "{name}");
            let Allowed::Number(least, most) = *allowed else { continue };
            for (value, good) in [(least, true), (most, true), (least.wrapping_sub(1), false), (most + 1, false)] {
                assert_eq!(parse(&[(name, &value.to_string())]).is_ok(), good, "{name}={value}");
            }
        }
        let set =
            parse(&[("PORT", "4000"), ("MAX_PAYLOAD", "500"), ("PING_TIMEOUT_MS", "700"), ("SERVER_ID", "tokyo-1")]);
        let set = set.unwrap();
        assert_eq!((set.port, set.max_payload, set.ping_timeout_ms), (4_000, 500, 700));
        assert_eq!(set.server_id.as_deref(), Some("tokyo-1"));
    }

    #[test]
    fn the_password_is_never_printed() {
        let lines = parse(&[("REDIS_PASSWORD", "hunter2\n"), ("PORT", "x"), ("REDIS_PORT", "y")]).unwrap_err();
        assert_eq!(lines.len(), 2);
        assert!(!lines.concat().contains("hunter2"));
        assert!(!format!("{:?}", parse(&[("REDIS_PASSWORD", "hunter2")]).unwrap()).contains("hunter2"));
    }

    #[test]
    fn the_documentation_has_this_table() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
        let between = page.split("<!-- env -->").nth(1).and_then(|rest| rest.split("<!-- /env -->").next()).unwrap();
        assert_eq!(between.trim(), table().trim());
    }
}
