//! The screen that `status` prints, and the list of `refused`: numbers in groups, plain ASCII, in the width and mostly the height of an
//! ordinary terminal. What is not known is not there; what Redis holds is Redis' to count.

use super::lists::{count, list};
use super::width::padded;
use crate::app::process::Process;
use crate::app::report::{Report, age, seconds, size, sum};
use crate::id::Time;
use crate::server::cluster::Neighbour;
use crate::server::metrics::{Metrics, RefusedReturn};
use crate::server::notice::visible;
use crate::server::recovery::record::Refused;
use std::fmt::Write as _;

/// Servers that are listed; what is beyond is counted.
const SERVERS: usize = 20;

/// What the operator's side knows of its server.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The server's name.
    pub name: String,
    /// Where it listens, as a URL.
    pub url: String,
    /// For how long it has been running, in milliseconds; `None`: it is stopped.
    pub up_ms: Option<u64>,
    /// Where the log is.
    pub log: String,
    /// It has been started since the process began.
    pub started: bool,
    /// Nobody new is let in.
    pub draining: bool,
    /// Who may join.
    pub door: &'static str,
}

type Row = (String, String);

fn row(name: &str, value: String) -> Row {
    (name.to_owned(), value)
}

/// The screen.
#[must_use]
pub fn screen(facts: &Facts, report: &Report, metrics: &Metrics) -> String {
    let mut text = String::new();
    let groups = [
        ("Server", server(facts, report)),
        ("Clients", clients(report, metrics)),
        ("Recovery", recovery(report, metrics)),
        ("Log", log(facts, report, metrics)),
        ("Cluster", if facts.up_ms.is_some() { cluster(facts, report, metrics) } else { Vec::new() }),
        ("Errors", errors(metrics)),
    ];
    for (title, rows) in groups.iter().filter(|(_, rows)| !rows.is_empty()) {
        let _ = writeln!(text, "{title}");
        for (name, value) in rows {
            let _ = writeln!(text, "  {} {value}", padded(name, 10));
        }
    }
    text
}

fn server(facts: &Facts, report: &Report) -> Vec<Row> {
    let state = match facts.up_ms {
        Some(ms) if facts.draining => format!("draining (start ends it), running for {}", age(ms)),
        Some(ms) => format!("running for {} on {}", age(ms), facts.url),
        None if facts.started => "stopped".to_owned(),
        None => "waiting for start".to_owned(),
    };
    let mut rows = vec![row("name", format!("{}; {}", facts.name, facts.door)), row("state", state)];
    if let Some(Process { cpu_ms, memory, files, most_files, .. }) = report.process {
        let most = most_files.map_or(String::new(), |most| format!(" of {most}"));
        let cpu = format!("{}.{}", cpu_ms / 1_000, cpu_ms / 100 % 10);
        rows.push(row("process", format!("{} memory, {cpu} s CPU, {files}{most} files open", size(memory))));
    }
    rows
}

fn clients(report: &Report, metrics: &Metrics) -> Vec<Row> {
    let Report { websocket, polling, rooms, namespaces, unsent, overdue, .. } = report;
    let overdue = if *overdue > 0 { format!(", {overdue} with a pong overdue") } else { String::new() };
    vec![
        row("clients", format!("{} ({websocket} websocket, {polling} polling){overdue}", websocket + polling)),
        row("rooms", format!("{rooms} in {}", count(*namespaces, "namespace"))),
        row("messages", format!("{} in, {} out", metrics.messages_in.get(), metrics.messages_out.get())),
        row(
            "traffic",
            format!(
                "{} in, {} out, {} unsent",
                size(metrics.bytes_in.get()),
                size(metrics.bytes_out.get()),
                size(*unsent as u64)
            ),
        ),
    ]
}

fn recovery(report: &Report, metrics: &Metrics) -> Vec<Row> {
    let Some(ms) = report.window_ms else { return vec![row("window", "off".to_owned())] };
    let held = report.held_ms.filter(|held| *held < ms);
    let held = held.map(|held| format!(", but only its last {} s are held (LOG_BYTES)", held / 1_000));
    let kept = report.memory.as_ref().map(|memory| format!(", {} kept", count(memory.sessions, "session")));
    let refused = sum(&metrics.recoveries_refused);
    let hint = if refused > 0 { " (see: refused)" } else { "" };
    vec![
        row("window", format!("{} s{}", seconds(ms), held.or(kept).unwrap_or_default())),
        row("returns", format!("{} recovered, {refused} refused{hint}", metrics.recoveries_granted.get())),
    ]
}

fn log(facts: &Facts, report: &Report, metrics: &Metrics) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(memory) = &report.memory {
        let (entries, bytes) = (count(memory.entries, "entry"), size(memory.bytes as u64));
        rows.push(row("log", format!("in {}, {entries}, {bytes}", facts.log)));
    }
    if let Some(redis) = &report.redis {
        let state = match (&redis.trouble, redis.connected) {
            _ if facts.up_ms.is_none() => "not connected: start connects, stop disconnects".to_owned(),
            (_, true) => "connected".to_owned(),
            (Some(trouble), false) => format!("away: {}", visible(trouble)),
            (None, false) => "not reached yet".to_owned(),
        };
        let (packets, bytes) = redis.waiting;
        rows.push(row("log", format!("in {}, {state}", facts.log)));
        rows.push(row("waiting", format!("{}, {}", count(packets, "packet"), size(bytes as u64))));
    }
    let (appends, failures) = (metrics.log_appends.get(), metrics.log_failures.get());
    rows.push(row("appended", format!("{appends}, {failures} failed")));
    rows
}

/// Servers of a shared log, each with the age of its heartbeat.
fn cluster(facts: &Facts, report: &Report, metrics: &Metrics) -> Vec<Row> {
    if report.redis.is_none() {
        return Vec::new();
    }
    let neighbour = |Neighbour { member, age, unreachable, .. }: &Neighbour| {
        let address = if member.address.is_empty() { "no address" } else { &member.address };
        let clients = count(member.clients, "client");
        let heartbeat = format!("{}.{} s ago", age / 1_000, age / 100 % 10);
        let twin = if *member.name == *facts.name { ", HAS THIS NAME TOO" } else { "" };
        let reached = if unreachable.is_some() { ", NOT REACHED" } else { "" };
        let value = format!("{}, {clients}, heartbeat {heartbeat}{twin}{reached}", visible(address));
        row(&visible(&member.name), value)
    };
    let others = report.neighbours.len();
    let mut rows = vec![row(
        "others",
        format!("{}, {} passed on to them", count(others, "server"), count_u64(metrics.forwarded.get(), "request")),
    )];
    rows.extend(report.neighbours.iter().take(SERVERS).map(neighbour));
    if others > SERVERS {
        rows.push(row("and", format!("{} more", others - SERVERS)));
    }
    rows
}

fn errors(metrics: &Metrics) -> Vec<Row> {
    let door = [&metrics.refused_http, &metrics.refused_full, &metrics.refused_address];
    let requests = sum(&metrics.refused) + door.iter().map(|counter| counter.get()).sum::<u64>();
    let (protocol, silent, slow) = (&metrics.protocol_errors, &metrics.ping_timeouts, &metrics.overflows);
    let [protocol, silent, slow] = [protocol, silent, slow].map(|counter| counter.get());
    let mut rows = vec![row(
        "sessions",
        format!("{protocol} broke the protocol, {silent} silent, {slow} cut; {requests} requests refused"),
    )];
    let (evicted, slowed) = (metrics.evicted.get(), metrics.slowed.get());
    if metrics.refused_address.get() + evicted + slowed > 0 {
        let address = metrics.refused_address.get();
        rows.push(row(
            "strangers",
            format!("{address} of one address too many, {evicted} evicted, {slowed} times slowed"),
        ));
    }
    let (repeats, unreadable, holes) = (&metrics.log_repeats, &metrics.log_unreadable, &metrics.log_holes);
    if repeats.get() + unreadable.get() + holes.get() > 0 {
        let [repeats, unreadable, holes] = [repeats, unreadable, holes].map(|counter| counter.get());
        rows.push(row("log", format!("{repeats} repeated, {unreadable} unreadable, {holes} times lost entries")));
    }
    rows
}

fn count_u64(n: u64, what: &str) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX), what)
}

/// The last returns that were refused, the newest first, and how many there were for each reason.
#[must_use]
pub fn refused(metrics: &Metrics) -> String {
    let line = |refused: &RefusedReturn| {
        let Time(ms) = refused.at;
        [
            Time(ms).iso(),
            visible(refused.nsp.as_str()).chars().take(20).collect(),
            refused.id.as_ref().map_or("-".to_owned(), ToString::to_string),
            visible(&refused.address).into_owned(),
            refused.reason.name().to_owned(),
        ]
    };
    let last = metrics.last_refused();
    let rows: Vec<[String; 5]> = last.iter().map(line).collect();
    let total = usize::try_from(sum(&metrics.recoveries_refused)).unwrap_or(usize::MAX);
    let mut text = list(["TIME", "NSP", "ID BEFORE", "ADDRESS", "REASON"], &rows, total, "refused return");
    let mut reasons = Refused::ALL.iter().zip(&metrics.recoveries_refused).filter(|(_, n)| n.get() > 0).peekable();
    if reasons.peek().is_some() {
        text.push_str("Reasons\n");
    }
    for (reason, counter) in reasons {
        let _ = writeln!(text, "  {:<15} {:>6}  {reason}", reason.name(), counter.get());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::console::notice::OPEN_DOOR;
    use crate::app::report::InMemory;
    use crate::id::{Nsp, SocketId};
    use crate::io::redis::RedisStatus;
    use crate::server::log::entry::Member;

    fn facts(log: &str) -> Facts {
        Facts {
            name: "one".into(),
            url: "http://127.0.0.1:3000".into(),
            up_ms: Some(3_723_000),
            log: log.into(),
            started: true,
            draining: false,
            door: OPEN_DOOR,
        }
    }

    /// One line for each in the ordinary case, and no surprise in a pipe.
    fn fits(screen: &str) {
        // The log's line and the prompt need two of 24 rows.
        assert!(screen.lines().count() <= 22, "{screen}");
        for line in screen.lines() {
            assert!(line.len() < 80 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        }
    }

    #[test]
    fn a_log_in_memory() {
        let metrics = Metrics::default();
        metrics.messages_in.add(11);
        metrics.recoveries_granted.add(13);
        metrics.recoveries_refused[2].add(17);
        metrics.bytes_in.add(usize::MAX / 2);
        let report = Report {
            websocket: 30_000,
            polling: 40_000,
            overdue: 3,
            rooms: 5,
            namespaces: 1,
            unsent: 1_000_000_000,
            memory: Some(InMemory { entries: 1, bytes: 176, sessions: 2 }),
            process: Some(Process {
                cpu_ms: 1_234,
                started_ms: 0,
                memory: 7 << 20,
                files: 9,
                most_files: Some(20_000),
            }),
            window_ms: Some(120_000),
            ..Report::default()
        };
        let screen = screen(&facts("memory"), &report, &metrics);
        fits(&screen);
        for line in [
            "Server\n  name       one; everybody may join (AUTH_TOKEN is not set)\n  state      running for 01:02:03 on http://127.0.0.1:3000\n",
            "  process    7.0 MiB memory, 1.2 s CPU, 9 of 20000 files open\n",
            "  clients    70000 (30000 websocket, 40000 polling), 3 with a pong overdue\n",
            "  rooms      5 in 1 namespace\n",
            "  messages   11 in, 0 out\n",
            "  window     120 s, 2 sessions kept\n",
            "  returns    13 recovered, 17 refused (see: refused)\n",
            "  log        in memory, 1 entry, 176 bytes\n",
        ] {
            assert!(screen.contains(line), "{line} in {screen}");
        }
        assert!(!screen.contains("Cluster"));
        // The same numbers as for Prometheus.
        let page = report.prometheus(&metrics);
        for sample in [
            "rill_clients{transport=\"websocket\"} 30000\n",
            "rill_connections 70000\n",
            "rill_rooms 5\n",
            "rill_messages_in_total 11\n",
            "rill_log_entries 1\n",
            "rill_pongs_overdue 3\n",
            "rill_recoveries_refused_total{reason=\"gap\"} 17\n",
        ] {
            assert!(page.contains(sample), "{sample} in {page}");
        }
    }

    #[test]
    fn a_log_in_redis() {
        let other = |name: &str, clients, age| Neighbour {
            uid: name.into(),
            member: Member {
                name: name.into(),
                tag: "abcdef".into(),
                address: "172.28.0.12:3000".into(),
                clients,
                proof: "".into(),
            },
            age,
            unreachable: None,
        };
        let mut report = Report {
            redis: Some(RedisStatus { connected: true, waiting: (0, 0), trouble: None }),
            neighbours: vec![other("server-2", 1, 1_250), other("server-\u{1b}", 0, 0)],
            process: Some(Process { cpu_ms: 0, started_ms: 0, memory: 0, files: 0, most_files: None }),
            window_ms: Some(120_000),
            ..Report::default()
        };
        let shown = screen(&facts("Redis redis:6379"), &report, &Metrics::default());
        fits(&shown);
        for line in [
            "  window     120 s\n",
            "  log        in Redis redis:6379, connected\n  waiting    0 packets, 0 bytes\n",
            "Cluster\n  others     2 servers, 0 requests passed on to them\n",
            "  server-2   172.28.0.12:3000, 1 client, heartbeat 1.2 s ago\n",
            "  server-\\u{1b} 172.28.0.12:3000, 0 clients, heartbeat 0.0 s ago\n",
        ] {
            assert!(shown.contains(line), "{line} in {shown}");
        }
        let twins = Facts { name: "server-2".into(), ..facts("Redis redis:6379") };
        let twins = screen(&twins, &report, &Metrics::default());
        assert!(
            twins.contains("server-2   172.28.0.12:3000, 1 client, heartbeat 1.2 s ago, HAS THIS NAME TOO\n"),
            "{twins}"
        );
        // How many sessions and entries Redis holds is not known.
        assert!(!shown.contains("kept") && !shown.contains("entr"), "{shown}");
        report.held_ms = Some(34_567);
        report.neighbours[0].unreachable = Some(1);
        let shown = screen(&facts("Redis redis:6379"), &report, &Metrics::default());
        fits(&shown);
        assert!(shown.contains("  window     120 s, but only its last 34 s are held (LOG_BYTES)\n"), "{shown}");
        assert!(shown.contains("heartbeat 1.2 s ago, NOT REACHED\n"), "{shown}");
        report.redis = Some(RedisStatus { connected: false, waiting: (2, 99), trouble: Some("OOM \u{7}".into()) });
        report.neighbours = (0..25).map(|_| other("x", 0, 0)).collect();
        let shown = screen(&facts("Redis redis:6379"), &report, &Metrics::default());
        assert!(shown.contains("away: OOM \\u{7}\n  waiting    2 packets, 99 bytes\n"), "{shown}");
        assert!(shown.contains("  and        5 more\n"), "{shown}");
    }

    #[test]
    fn stopped_and_without_recovery() {
        let facts = Facts { up_ms: None, ..facts("memory") };
        let shown = screen(&facts, &Report::default(), &Metrics::default());
        assert!(shown.contains("  state      stopped\n") && shown.contains("  window     off\n"), "{shown}");
        assert!(!shown.contains("process"), "{shown}");
        let state = |facts: Facts| {
            let shown = screen(&facts, &Report::default(), &Metrics::default());
            shown.lines().find_map(|line| line.strip_prefix("  state      ").map(str::to_owned)).unwrap()
        };
        assert_eq!(state(Facts { started: false, ..facts.clone() }), "waiting for start");
        let draining = Facts { draining: true, up_ms: Some(1_000), ..facts };
        assert_eq!(state(draining), "draining (start ends it), running for 00:00:01");
    }

    #[test]
    fn refused_returns() {
        let metrics = Metrics::default();
        assert_eq!(refused(&metrics), "0 refused returns\n");
        let id = SocketId::new(&(std::sync::Arc::new(|bytes: &mut [u8]| bytes.fill(0)) as crate::id::Random));
        for n in 0..11 {
            metrics.refuse_return(RefusedReturn {
                at: Time(n * 1_000),
                nsp: Nsp::new("/\u{1b}"),
                id: (n == 10).then(|| id.clone()),
                address: "192.0.2.1".into(),
                reason: if n == 10 { Refused::Gap } else { Refused::UnknownSession },
            });
        }
        let text = refused(&metrics);
        assert!(text.starts_with("11 refused returns\n  TIME "), "{text}");
        assert!(text.contains(&format!("\n  1970-01-01T00:00:10.000Z  /\\u{{1b}}  {id}  192.0.2.1  gap\n")), "{text}");
        assert!(text.contains("\n  and 1 more\nReasons\n  unknown_session     10  its session has expired"), "{text}");
    }
}
