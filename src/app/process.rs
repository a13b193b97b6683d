//! What the process itself uses, as Linux tells it in `/proc/self` (proc(5)); elsewhere nothing is known, and nothing is shown.

use std::fs;

/// Of the times in `/proc/self/stat`, on every Linux.
const TICKS_PER_SECOND: u64 = 100;

/// What the process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Processor time so far, in milliseconds.
    pub cpu_ms: u64,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Open files, connections among them.
    pub files: usize,
    /// How many there may be.
    pub most_files: Option<usize>,
}

impl Process {
    /// Looks; `None` where there is no `/proc`.
    #[must_use]
    pub fn now() -> Option<Process> {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        let stat = read("stat")?;
        Some(Process {
            cpu_ms: cpu_ms(&stat)?,
            started_ms: started_ms(&stat, &fs::read_to_string("/proc/stat").ok()?)?,
            memory: memory(&read("status")?)?,
            // The folder that is being read is open too.
            files: fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1),
            most_files: file_limit(),
        })
    }
}

/// How many files may be open.
#[must_use]
pub fn file_limit() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

/// Fields 14 and 15 of the line; the name before them, in brackets, may hold anything.
fn cpu_ms(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * 1_000 / TICKS_PER_SECOND)
}

/// Field 22 of the line, counted from when the machine was started, which stands in `/proc/stat` in seconds since 1970.
fn started_ms(stat: &str, machine: &str) -> Option<u64> {
    let ticks = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse::<u64>().ok()?;
    let boot = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
    Some(boot * 1_000 + ticks * 1_000 / TICKS_PER_SECOND)
}

/// It is told in KiB.
fn memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 500 0 0 0 123 45 0 0 20 0 3 0 999 1 2";
        assert_eq!((cpu_ms(stat), cpu_ms("42 (x) S 1"), cpu_ms("")), (Some(1_680), None, None));
        assert_eq!(started_ms(stat, "cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_009_990));
        assert_eq!((started_ms(stat, ""), started_ms("42 (x) S 1", "btime 1\n")), (None, None));
        assert_eq!((memory("Name:\tx\nVmRSS:\t    7 kB\n"), memory("")), (Some(7_168), None));
    }

    #[test]
    fn this_process() {
        let process = Process::now().unwrap();
        assert!(process.memory > 100_000 && process.files >= 3, "{process:?}");
        assert!(process.most_files.is_none_or(|most| most >= process.files), "{process:?}");
    }
}
