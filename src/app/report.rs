//! How the server is: one set of numbers for `status` and for `/metrics`, so that they can't disagree.

use super::backend::Backend;
use super::process::Process;
use crate::id::Nsp;
use crate::io::redis::RedisStatus;
use crate::proto::handshake::Transport;
use crate::server::Server;
use crate::server::cluster::Neighbour;
use crate::server::log::streams::Key;
use crate::server::metrics::{Counter, Histogram, Metrics};
use crate::server::recovery::record::Refused;
use std::fmt::Write as _;

/// The names of the official refusal codes, for metrics.
const REFUSALS: [&str; 6] =
    ["transport_unknown", "unknown_sid", "bad_handshake_method", "bad_request", "forbidden", "unsupported_version"];

/// What is counted at one moment; what has happened since the start is in [`Metrics`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The server's name.
    pub name: String,
    /// Clients on WebSocket.
    pub websocket: usize,
    /// Clients on long-polling.
    pub polling: usize,
    /// Rooms in all namespaces.
    pub rooms: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// What the log holds, where it is in this process; what Redis holds is not known here.
    pub memory: Option<InMemory>,
    /// How the connection to Redis is, where the log is there.
    pub redis: Option<RedisStatus>,
    /// For how many milliseconds back the log on Redis is held, where its bytes don't allow for the whole window.
    pub held_ms: Option<u64>,
    /// Other servers of the cluster.
    pub neighbours: Vec<Neighbour>,
    /// Bytes that wait for clients.
    pub unsent: usize,
    /// Clients whose pong has not come in half of its time.
    pub overdue: usize,
    /// What the process uses, where that can be known.
    pub process: Option<Process>,
    /// How long a client may be away, in milliseconds; `None`: recovery is off.
    pub window_ms: Option<u64>,
    /// About how many bytes the sessions take whose clients are away.
    pub away_bytes: usize,
}

/// What a log in this process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InMemory {
    /// Entries in the main namespace's log.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Sessions that can be recovered, those of connected clients included.
    pub sessions: usize,
}

impl Report {
    /// Counts.
    #[must_use]
    pub fn gather(server: &Server, backend: &Backend) -> Report {
        let mut report = Report {
            name: server.options().name.clone(),
            window_ms: server.options().recovery.as_ref().map(|recovery| recovery.window_ms),
            away_bytes: server.away_bytes(),
            process: Process::now(),
            ..Report::default()
        };
        let now = server.now();
        for connection in server.connections() {
            match connection.transport() {
                Transport::WebSocket => report.websocket += 1,
                Transport::Polling => report.polling += 1,
            }
            report.unsent += connection.unsent();
            report.overdue += usize::from(connection.pong_overdue(now));
        }
        let namespaces = server.namespaces();
        report.namespaces = namespaces.len();
        report.rooms = namespaces.iter().map(|namespace| namespace.room_count()).sum();
        match backend {
            Backend::Memory(streams) => {
                let size = |name| streams.size(&Key::Log(name));
                let (entries, bytes) = size(Nsp::new("/"));
                let logs = namespaces.iter().filter(|namespace| size(namespace.name().clone()).0 > 0).count();
                let sessions = streams.keys(now).saturating_sub(logs);
                report.memory = Some(InMemory { entries, bytes, sessions });
            }
            Backend::Redis(redis) => {
                report.redis = Some(redis.status());
                report.neighbours = server.neighbours();
                report.held_ms = namespaces.iter().filter_map(|namespace| namespace.held().1).min();
            }
        }
        report
    }

    /// All numbers in Prometheus' text format. <https://prometheus.io/docs/instrumenting/exposition_formats/>
    #[must_use]
    pub fn prometheus(&self, metrics: &Metrics) -> String {
        let mut page = Page(String::new());
        page.gauge("rill_build_info", "The version that runs; always 1.");
        page.sample("rill_build_info", concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""), 1);
        page.gauge("rill_server_info", "The server's name; always 1.");
        page.sample("rill_server_info", &format!("server=\"{}\"", label(&self.name)), 1);
        page.gauge("rill_clients", "Engine.IO sessions, by transport.");
        page.sample("rill_clients", "transport=\"websocket\"", self.websocket as u64);
        page.sample("rill_clients", "transport=\"polling\"", self.polling as u64);
        page.one("gauge", "rill_connections", "Engine.IO sessions.", (self.websocket + self.polling) as u64);
        page.one("gauge", "rill_rooms", "Rooms with at least one client.", self.rooms as u64);
        page.one("gauge", "rill_namespaces", "Namespaces.", self.namespaces as u64);
        page.one(
            "gauge",
            "rill_sessions_away_bytes",
            "Sessions of clients that are away, about.",
            self.away_bytes as u64,
        );
        if let Some(memory) = &self.memory {
            page.one(
                "gauge",
                "rill_sessions_kept",
                "Sessions that can be recovered, with those of connected clients.",
                memory.sessions as u64,
            );
            page.one("gauge", "rill_log_entries", "Entries in the log of the main namespace.", memory.entries as u64);
            page.one("gauge", "rill_log_bytes", "Bytes in the log of the main namespace.", memory.bytes as u64);
        }
        if let Some(redis) = &self.redis {
            page.one("gauge", "rill_redis_connected", "Whether Redis is reached.", u64::from(redis.connected));
            page.one("gauge", "rill_log_waiting", "Packets that wait for Redis.", redis.waiting.0 as u64);
            page.one("gauge", "rill_log_waiting_bytes", "Their bytes.", redis.waiting.1 as u64);
            page.one("gauge", "rill_cluster_servers", "Other servers that live.", self.neighbours.len() as u64);
            page.histogram(
                "rill_delivery_seconds",
                "From appending an entry to delivering it here, of one entry at a time.",
                &metrics.delivery,
            );
        }
        page.one("gauge", "rill_unsent_bytes", "Bytes that wait for clients.", self.unsent as u64);
        page.one("gauge", "rill_pongs_overdue", "Clients whose pong is late.", self.overdue as u64);
        if let Some(process) = &self.process {
            page.process(process);
        }
        page.counters(metrics);
        page.histogram(
            "rill_replay_seconds",
            "From a session that was found to its client let in with all that it missed.",
            &metrics.replay,
        );
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
        page.sample("rill_requests_refused_total", "reason=\"address_limit\"", metrics.refused_address.get());
        page.0
    }
}

/// A label's value, as the format wants it.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All of a set of counters.
pub(super) fn sum(counters: &[Counter]) -> u64 {
    counters.iter().map(Counter::get).sum()
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

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head("histogram", name, help);
        let counts = histogram.cumulative();
        let bounds = Histogram::BOUNDS_MS.map(seconds).into_iter().chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&counts) {
            self.sample(&format!("{name}_bucket"), &format!("le=\"{bound}\""), *count);
        }
        let all = counts.last().copied().unwrap_or(0);
        let _ = writeln!(self.0, "{name}_sum {}\n{name}_count {all}", seconds(histogram.sum_ms()));
    }

    /// Under the names that client libraries of Prometheus give to them.
    fn process(&mut self, process: &Process) {
        let Process { cpu_ms, started_ms, memory, files, most_files } = process;
        self.counter("process_cpu_seconds_total", "Processor time used.");
        let _ = writeln!(self.0, "process_cpu_seconds_total {}", seconds(*cpu_ms));
        self.gauge("process_start_time_seconds", "When it was started, since 1970.");
        let _ = writeln!(self.0, "process_start_time_seconds {}", seconds(*started_ms));
        self.one("gauge", "process_resident_memory_bytes", "Resident memory.", *memory);
        self.one("gauge", "process_open_fds", "Open files, connections among them.", *files as u64);
        if let Some(most) = most_files {
            self.one("gauge", "process_max_fds", "Files that may be open.", *most as u64);
        }
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
                "rill_readings_paused_total",
                "Times that a client was read no further, because many of its events waited for handlers.",
                &m.readings_paused,
            ),
            (
                "rill_clients_slowed_total",
                "Times that a client was read more slowly, because it sends more events than it may.",
                &m.slowed,
            ),
            (
                "rill_sessions_evicted_total",
                "Sessions without a namespace that gave their place to another, because the server was full.",
                &m.evicted,
            ),
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
            ("rill_log_cuts_total", "Times that others cut a log off behind what was read.", &m.log_cuts),
            (
                "rill_sessions_forgotten_total",
                "Sessions forgotten early because too many were away.",
                &m.sessions_forgotten,
            ),
            (
                "rill_requests_repeated_total",
                "Requests that came again after their connection broke, not taken for new ones.",
                &m.requests_repeated,
            ),
            (
                "rill_forwards_failed_total",
                "Requests not passed on, because the server that has the session was not reached.",
                &m.unreachable,
            ),
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
pub(super) fn size(bytes: u64) -> String {
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

    fn page(report: &Report) -> String {
        report.prometheus(&Metrics::default())
    }

    #[test]
    fn every_sample_is_a_number_under_a_known_name() {
        let process = Some(Process { cpu_ms: 1_250, started_ms: 2_500, memory: 7, files: 8, most_files: Some(9) });
        let page = page(&Report { memory: Some(InMemory::default()), process, ..Report::default() });
        assert!(page.contains("\nprocess_cpu_seconds_total 1.25\n"), "{page}");
        assert!(page.contains("\nprocess_start_time_seconds 2.5\n"), "{page}");
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(name.starts_with("rill_") || name.starts_with("process_"), "{line}");
        }
    }

    #[test]
    fn names_and_times() {
        let metrics = Metrics::default();
        [1, 3, 20_000].into_iter().for_each(|ms| metrics.replay.add(ms));
        let page = Report { name: "a\"b\\c\nd".to_owned(), ..Report::default() }.prometheus(&metrics);
        for line in [
            r#"rill_server_info{server="a\"b\\c\nd"} 1"#,
            concat!("rill_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# TYPE rill_replay_seconds histogram",
            "rill_replay_seconds_bucket{le=\"0.001\"} 1",
            "rill_replay_seconds_bucket{le=\"0.005\"} 2",
            "rill_replay_seconds_bucket{le=\"10\"} 2",
            "rill_replay_seconds_bucket{le=\"+Inf\"} 3",
            "rill_replay_seconds_sum 20.004",
            "rill_replay_seconds_count 3",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line}: {page}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let redis = Some(RedisStatus { connected: true, waiting: (0, 0), trouble: None });
        let (here, there) = (
            page(&Report { memory: Some(InMemory::default()), ..Report::default() }),
            page(&Report { redis, ..Report::default() }),
        );
        for name in ["rill_sessions_kept", "rill_log_entries", "rill_log_bytes"] {
            assert!(here.contains(&format!("\n{name} 0\n")) && !there.contains(name), "{name}");
        }
        for name in ["rill_redis_connected", "rill_log_waiting", "rill_cluster_servers", "rill_delivery_seconds_count"]
        {
            assert!(there.contains(&format!("\n{name} ")) && !here.contains(name), "{name}");
        }
        assert!(!here.contains("process_"));
    }
}
