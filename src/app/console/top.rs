//! What `top` shows each second: how many there are now, and how many there were in the second that has passed.
//!
//! On a terminal the rows are drawn anew in their place; elsewhere each second is one line, with the headings again now and then.

use crate::app::report::{Report, size, sum};
use crate::id::Time;
use crate::server::metrics::Metrics;
use std::fmt::Write as _;

/// Between two looks, in milliseconds.
pub const EVERY: u64 = 1_000;
/// Stands below the rows, and alone until there are any.
pub const HINT: &str = "  each second anew; Enter ends it ";
/// Lines between headings.
const PAGE: usize = 20;

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
struct Sample {
    at: Time,
    cpu_ms: u64,
    counts: [u64; COUNTED.len()],
}

/// A counter that is shown as so many in a second: its heading in a line and its name in the rows, and where it is counted.
struct Counted {
    short: &'static str,
    name: &'static str,
    bytes: bool,
    get: fn(&Metrics) -> u64,
}

const fn counted(short: &'static str, name: &'static str, get: fn(&Metrics) -> u64) -> Counted {
    Counted { short, name, bytes: false, get }
}

const COUNTED: [Counted; 8] = [
    counted("msg-in", "messages in", |m| m.messages_in.get()),
    counted("msg-out", "messages out", |m| m.messages_out.get()),
    Counted { bytes: true, ..counted("in", "bytes in", |m| m.bytes_in.get()) },
    Counted { bytes: true, ..counted("out", "bytes out", |m| m.bytes_out.get()) },
    counted("opened", "connects", |m| m.sessions_opened.get()),
    counted("recover", "recoveries", |m| m.recoveries_granted.get()),
    counted("refused", "refused", |m| sum(&m.recoveries_refused)),
    counted("append", "log appends", |m| m.log_appends.get()),
];

/// What is watched.
#[derive(Clone, Debug)]
pub struct Top {
    before: Sample,
    lines: usize,
}

/// One number.
struct Cell {
    short: &'static str,
    name: &'static str,
    value: String,
    /// Of its column in a line.
    width: usize,
}

fn cell(short: &'static str, name: &'static str, value: String, width: usize) -> Cell {
    Cell { short, name, value, width }
}

impl Top {
    /// Begins to watch.
    #[must_use]
    pub fn new(now: Time, report: &Report, metrics: &Metrics) -> Top {
        Top { before: Sample::take(now, report, metrics), lines: 0 }
    }

    /// When the next numbers are due.
    #[must_use]
    pub fn due(&self) -> Time {
        self.before.at.plus(EVERY)
    }

    /// The rows for a terminal.
    pub fn rows(&mut self, now: Time, report: &Report, metrics: &Metrics) -> String {
        let cells = self.cells(now, report, metrics);
        let (gauges, rates) = cells.split_at(cells.len().saturating_sub(COUNTED.len()));
        let mut text = String::new();
        for i in 0..gauges.len().max(rates.len()) {
            let left =
                gauges.get(i).map_or(String::new(), |Cell { name, value, .. }| format!("{name:<12} {value:>12}"));
            let right =
                rates.get(i).map_or(String::new(), |Cell { name, value, .. }| format!("{name:<14} {value:>12}/s"));
            let _ = writeln!(text, "{}", format!("  {left:<25}     {right}").trim_end());
        }
        text + HINT
    }

    /// The lines for a pipe: one, below the headings where these are due.
    pub fn lines(&mut self, now: Time, report: &Report, metrics: &Metrics) -> Vec<String> {
        let headings = self.lines.is_multiple_of(PAGE);
        self.lines += 1;
        let cells = self.cells(now, report, metrics);
        let line = |text: fn(&Cell) -> &str| {
            cells.iter().fold(String::new(), |line, cell| format!("{line} {:>1$}", text(cell), cell.width))
        };
        let (above, below) = (line(|cell| cell.short), line(|cell| &cell.value));
        if headings { vec![above, below] } else { vec![below] }
    }

    fn cells(&mut self, now: Time, report: &Report, metrics: &Metrics) -> Vec<Cell> {
        let sample = Sample::take(now, report, metrics);
        let before = std::mem::replace(&mut self.before, sample.clone());
        let ms = sample.at.since(before.at).max(1);
        let mut cells: Vec<Cell> = vec![
            cell("clients", "clients", (report.websocket + report.polling).to_string(), 7),
            cell("rooms", "rooms", report.rooms.to_string(), 6),
            cell("unsent", "unsent", size(report.unsent as u64), 11),
        ];
        if let Some(process) = &report.process {
            let cpu = sample.cpu_ms.saturating_sub(before.cpu_ms).saturating_mul(100) / ms;
            cells.push(cell("CPU", "CPU", format!("{cpu}%"), 5));
            cells.push(cell("memory", "memory", size(process.memory), 10));
        }
        if let Some(redis) = &report.redis {
            let state = if redis.connected { "connected" } else { "away" };
            cells.push(cell("Redis", "Redis", state.to_owned(), 9));
            cells.push(cell("waiting", "waiting", redis.waiting.0.to_string(), 7));
        }
        for ((counted, new), old) in COUNTED.iter().zip(sample.counts).zip(before.counts) {
            let rate = new.saturating_sub(old).saturating_mul(1_000).saturating_add(ms / 2) / ms;
            let (value, width) = if counted.bytes { (size(rate), 11) } else { (rate.to_string(), 7) };
            cells.push(cell(counted.short, counted.name, value, width));
        }
        cells
    }
}

impl Sample {
    fn take(now: Time, report: &Report, metrics: &Metrics) -> Sample {
        let cpu_ms = report.process.map_or(0, |process| process.cpu_ms);
        Sample { at: now, cpu_ms, counts: COUNTED.each_ref().map(|counted| (counted.get)(metrics)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::process::Process;
    use crate::io::redis::RedisStatus;

    fn report(cpu_ms: u64) -> Report {
        let process = Some(Process { cpu_ms, started_ms: 0, memory: 8 << 20, files: 9, most_files: None });
        Report { websocket: 3, polling: 4, rooms: 2, unsent: 2_048, process, ..Report::default() }
    }

    #[test]
    fn rates_are_per_second() {
        let metrics = Metrics::default();
        metrics.messages_in.add(1_000);
        let mut top = Top::new(Time(5_000), &report(1_000), &metrics);
        assert_eq!(top.due(), Time(6_000));
        metrics.messages_in.add(30);
        metrics.bytes_out.add(4_096);
        metrics.recoveries_refused[0].add(1);
        metrics.recoveries_refused[6].add(2);
        // A late look still counts by the second.
        let rows = top.rows(Time(7_000), &report(1_500), &metrics);
        assert_eq!(
            rows,
            "  clients                 7     messages in              15/s
  rooms                   2     messages out              0/s
  unsent            2.0 KiB     bytes in            0 bytes/s
  CPU                   25%     bytes out           2.0 KiB/s
  memory            8.0 MiB     connects                  0/s
                                recoveries                0/s
                                refused                   2/s
                                log appends               0/s
  each second anew; Enter ends it "
        );
        assert_eq!(top.due(), Time(8_000));
        assert!(top.rows(Time(8_000), &report(1_500), &metrics).contains(" messages in               0/s\n"));
        // Two looks at one moment, and counters that began anew, are no reason to panic.
        assert!(top.rows(Time(8_000), &report(0), &Metrics::default()).contains("CPU                    0%"));
    }

    #[test]
    fn lines_for_a_pipe() {
        let metrics = Metrics::default();
        let redis = Some(RedisStatus { connected: false, waiting: (5, 99), trouble: None });
        let report = Report { redis, ..report(0) };
        let mut top = Top::new(Time(0), &report, &metrics);
        let first = top.lines(Time(1_000), &report, &metrics);
        let [headings, numbers] = &first[..] else { panic!("{first:?}") };
        assert_eq!(headings.len(), numbers.len());
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(headings)[..7], ["clients", "rooms", "unsent", "CPU", "memory", "Redis", "waiting"]);
        assert_eq!(words(numbers)[..9], ["7", "2", "2.0", "KiB", "0%", "8.0", "MiB", "away", "5"]);
        let counts: Vec<usize> = (0..40).map(|i| top.lines(Time(2_000 + i), &report, &metrics).len()).collect();
        assert_eq!(counts.iter().filter(|n| **n == 2).count(), 2, "{counts:?}");
    }
}
