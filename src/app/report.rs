//! How the server is: one set of numbers for `status` and for `/metrics`, so that they can't disagree.

use super::backend::Backend;
use super::log::visible;
use crate::id::Nsp;
use crate::io::redis::RedisStatus;
use crate::proto::handshake::Transport;
use crate::server::Server;
use crate::server::cluster::Neighbour;
use crate::server::metrics::Metrics;
use crate::server::recovery::Refused;
use crate::server::streams::Key;
use std::fmt::Write as _;

/// The names of the official refusal codes, for metrics.
const REFUSALS: [&str; 6] =
    ["transport_unknown", "unknown_sid", "bad_handshake_method", "bad_request", "forbidden", "unsupported_version"];

/// What is counted at one moment; what has happened since the start is in [`Metrics`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Clients on WebSocket.
    pub websocket: usize,
    /// Clients on long-polling.
    pub polling: usize,
    /// Rooms in all namespaces.
    pub rooms: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// Entries in the main namespace's log.
    pub log_entries: usize,
    /// Their bytes.
    pub log_bytes: usize,
    /// Sessions that can be recovered, those of connected clients included.
    pub sessions: usize,
    /// How the connection to Redis is, where the log is there.
    pub redis: Option<RedisStatus>,
    /// Other servers of the cluster.
    pub neighbours: Vec<Neighbour>,
    /// Bytes that wait for clients.
    pub unsent: usize,
    /// How long a client may be away, in milliseconds; `None`: recovery is off.
    pub window_ms: Option<u64>,
}

impl Report {
    /// Counts.
    #[must_use]
    pub fn gather(server: &Server, backend: &Backend) -> Report {
        let mut report = Report {
            window_ms: server.options().recovery.as_ref().map(|recovery| recovery.window_ms),
            ..Report::default()
        };
        for connection in server.connections() {
            match connection.transport() {
                Transport::WebSocket => report.websocket += 1,
                Transport::Polling => report.polling += 1,
            }
            report.unsent += connection.unsent();
        }
        let namespaces = server.namespaces();
        report.namespaces = namespaces.len();
        report.rooms = namespaces.iter().map(|namespace| namespace.room_count()).sum();
        match backend {
            Backend::Memory(streams) => {
                let size = |name| streams.size(&Key::Log(name));
                (report.log_entries, report.log_bytes) = size(Nsp::new("/"));
                let logs = namespaces.iter().filter(|namespace| size(namespace.name().clone()).0 > 0).count();
                report.sessions = streams.keys(server.now()).saturating_sub(logs);
            }
            Backend::Redis(redis) => {
                report.redis = Some(redis.status());
                report.neighbours = server.neighbours();
            }
        }
        report
    }

    /// The lines of `status` that have numbers.
    #[must_use]
    pub fn lines(&self, metrics: &Metrics) -> Vec<(&'static str, String)> {
        let Report { websocket, polling, rooms, log_entries, sessions, unsent, .. } = self;
        let recovery = match self.window_ms {
            Some(ms) => format!(
                "window {} s, {} granted, {} refused{}",
                seconds(ms),
                metrics.recoveries_granted.get(),
                refused(metrics),
                if self.redis.is_none() { format!(", {sessions} sessions kept") } else { String::new() }
            ),
            None => "off".to_owned(),
        };
        let mut lines = vec![
            ("clients", format!("{} ({websocket} websocket, {polling} polling)", websocket + polling)),
            ("rooms", rooms.to_string()),
            ("messages", format!("{} in, {} out", metrics.messages_in.get(), metrics.messages_out.get())),
            (
                "traffic",
                format!(
                    "{} in, {} out, {} unsent",
                    size(metrics.bytes_in.get()),
                    size(metrics.bytes_out.get()),
                    size(*unsent as u64)
                ),
            ),
        ];
        match &self.redis {
            None => lines.push(("log", format!("in memory, {log_entries} entries, {}", size(self.log_bytes as u64)))),
            Some(redis) => {
                lines.push(("log", in_redis(redis)));
                lines.extend(self.neighbours.iter().map(|other| ("server", neighbour(other))));
            }
        }
        lines.push(("recovery", recovery));
        lines
    }

    /// All numbers in Prometheus' text format. <https://prometheus.io/docs/instrumenting/exposition_formats/>
    #[must_use]
    pub fn prometheus(&self, metrics: &Metrics) -> String {
        let mut page = Page(String::new());
        page.gauge("rill_clients", "Engine.IO sessions, by transport.");
        page.sample("rill_clients", "transport=\"websocket\"", self.websocket as u64);
        page.sample("rill_clients", "transport=\"polling\"", self.polling as u64);
        page.one("gauge", "rill_connections", "Engine.IO sessions.", (self.websocket + self.polling) as u64);
        page.one("gauge", "rill_rooms", "Rooms with at least one client.", self.rooms as u64);
        page.one("gauge", "rill_namespaces", "Namespaces.", self.namespaces as u64);
        page.one(
            "gauge",
            "rill_sessions_kept",
            "Sessions that can be recovered, with those of connected clients.",
            self.sessions as u64,
        );
        page.one("gauge", "rill_log_entries", "Entries in the log of the main namespace.", self.log_entries as u64);
        page.one("gauge", "rill_log_bytes", "Bytes in the log of the main namespace.", self.log_bytes as u64);
        if let Some(redis) = &self.redis {
            page.one("gauge", "rill_redis_connected", "Whether Redis is reached.", u64::from(redis.connected));
            page.one("gauge", "rill_log_waiting", "Packets that wait for Redis.", redis.waiting.0 as u64);
            page.one("gauge", "rill_log_waiting_bytes", "Their bytes.", redis.waiting.1 as u64);
            page.one("gauge", "rill_cluster_servers", "Other servers that live.", self.neighbours.len() as u64);
        }
        page.one("gauge", "rill_unsent_bytes", "Bytes that wait for clients.", self.unsent as u64);
        page.counters(metrics);
        page.counter(
            "rill_recoveries_refused_total",
            "Clients that asked for their session and got a new one, by reason.",
        );
        for (reason, counter) in Refused::ALL.iter().zip(&metrics.recoveries_refused) {
            page.sample("rill_recoveries_refused_total", &format!("reason=\"{}\"", reason.name()), counter.get());
        }
        page.counter("rill_requests_refused_total", "Requests refused, by reason.");
        for (reason, counter) in REFUSALS.iter().zip(&metrics.refused) {
            page.sample("rill_requests_refused_total", &format!("reason=\"{reason}\""), counter.get());
        }
        page.sample("rill_requests_refused_total", "reason=\"http_limit\"", metrics.refused_http.get());
        page.sample("rill_requests_refused_total", "reason=\"too_many_connections\"", metrics.refused_full.get());
        page.0
    }
}

fn in_redis(redis: &RedisStatus) -> String {
    let state = match (&redis.trouble, redis.connected) {
        (_, true) => "connected".to_owned(),
        (Some(trouble), false) => format!("away: {trouble}"),
        (None, false) => "not reached yet".to_owned(),
    };
    match redis.waiting {
        (0, _) => format!("in Redis, {state}"),
        (packets, bytes) => format!("in Redis, {state}; {packets} packets wait, {}", size(bytes as u64)),
    }
}

fn neighbour(other: &Neighbour) -> String {
    let Neighbour { member, age, .. } = other;
    let address = if member.address.is_empty() { "no address" } else { &member.address };
    let (name, address) = (visible(&member.name), visible(address));
    let clients = if member.clients == 1 { "client" } else { "clients" };
    format!("{name} at {address}, {} {clients}, heard {} s ago", member.clients, age / 1_000)
}

fn refused(metrics: &Metrics) -> u64 {
    metrics.recoveries_refused.iter().map(crate::server::metrics::Counter::get).sum()
}

/// A page in the text format.
struct Page(String);

impl Page {
    fn head(&mut self, kind: &str, name: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str) {
        self.head("gauge", name, help);
    }

    fn counter(&mut self, name: &str, help: &str) {
        self.head("counter", name, help);
    }

    fn sample(&mut self, name: &str, label: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{{label}}} {value}");
    }

    fn one(&mut self, kind: &str, name: &str, help: &str, value: u64) {
        self.head(kind, name, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counters(&mut self, m: &Metrics) {
        for (name, help, counter) in [
            ("rill_sessions_opened_total", "Engine.IO sessions opened.", &m.sessions_opened),
            ("rill_upgrades_total", "Sessions that moved from polling to WebSocket.", &m.upgrades),
            ("rill_messages_in_total", "Packets from clients.", &m.messages_in),
            ("rill_messages_out_total", "Packets to clients, one for each receiver.", &m.messages_out),
            ("rill_received_bytes_total", "Bytes read from clients.", &m.bytes_in),
            ("rill_sent_bytes_total", "Bytes written to clients.", &m.bytes_out),
            ("rill_recoveries_granted_total", "Sessions given back whole.", &m.recoveries_granted),
            (
                "rill_protocol_errors_total",
                "Sessions closed because of a packet that breaks the protocol.",
                &m.protocol_errors,
            ),
            ("rill_ping_timeouts_total", "Sessions closed because no pong came.", &m.ping_timeouts),
            ("rill_slow_clients_cut_total", "Sessions cut because their client did not read.", &m.overflows),
            (
                "rill_volatile_dropped_total",
                "Volatile packets dropped because their client was busy.",
                &m.volatile_dropped,
            ),
            ("rill_log_appends_total", "Entries appended to logs.", &m.log_appends),
            ("rill_log_failures_total", "Appends that the log refused.", &m.log_failures),
            ("rill_log_repeats_total", "Entries that repeat earlier ones, skipped.", &m.log_repeats),
            ("rill_log_unreadable_total", "Entries that could not be read, skipped.", &m.log_unreadable),
            ("rill_log_holes_total", "Times that a log had lost entries before they were read.", &m.log_holes),
            ("rill_requests_forwarded_total", "Requests passed on to the server that has the session.", &m.forwarded),
        ] {
            self.one("counter", name, help, counter.get());
        }
    }
}

/// Seconds, with a fraction only where there is one.
pub(super) fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => (ms / 1000).to_string(),
        rest => format!("{}.{}", ms / 1000, format!("{rest:03}").trim_end_matches('0')),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    match unit {
        "bytes" => format!("{bytes} bytes"),
        _ => format!("{value:.1} {unit}"),
    }
}

/// Days, hours, minutes and seconds of an age.
pub(super) fn age(ms: u64) -> String {
    let s = ms / 1000;
    let clock = format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
    match s / 86_400 {
        0 => clock,
        days => format!("{days}d {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([size(0), size(1023), size(1024), size(5_452_595)], ["0 bytes", "1023 bytes", "1.0 KiB", "5.2 MiB"]);
        assert_eq!([age(0), age(3_723_000), age(90_061_000)], ["00:00:00", "01:02:03", "1d 01:01:01"]);
        assert_eq!([seconds(120_000), seconds(1_500)], ["120", "1.5"]);
    }

    #[test]
    fn status_and_metrics_have_the_same_numbers() {
        let metrics = Metrics::default();
        metrics.messages_in.add(11);
        metrics.recoveries_granted.add(13);
        metrics.recoveries_refused[2].add(17);
        let report = Report {
            websocket: 3,
            polling: 4,
            rooms: 5,
            log_entries: 6,
            window_ms: Some(120_000),
            ..Report::default()
        };
        let status = format!("{:?}", report.lines(&metrics));
        let page = report.prometheus(&metrics);
        for (shown, sample) in [
            ("7 (3 websocket, 4 polling)", "rill_connections 7\n"),
            ("3 websocket", "rill_clients{transport=\"websocket\"} 3\n"),
            ("\"rooms\", \"5\"", "rill_rooms 5\n"),
            ("11 in", "rill_messages_in_total 11\n"),
            ("6 entries", "rill_log_entries 6\n"),
            ("13 granted", "rill_recoveries_granted_total 13\n"),
            ("17 refused", "rill_recoveries_refused_total{reason=\"gap\"} 17\n"),
        ] {
            assert!(status.contains(shown), "{shown} in {status}");
            assert!(page.contains(sample), "{sample} in {page}");
        }
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<u64>().is_ok() && name.starts_with("rill_"), "{line}");
        }
    }
}
