//! What a server process has cost so far, as Linux tells it.

use crate::Failure;
use std::collections::HashMap;
use std::fs;

/// Processor time of each thread of some processes.
pub struct Cpu(HashMap<(u32, String), u64>);

impl Cpu {
    /// Nanoseconds on a processor, by thread: `/proc/PID/stat` counts in steps of 10 ms.
    pub fn read(pids: &[u32]) -> Result<Cpu, Failure> {
        let mut threads = HashMap::new();
        for &pid in pids {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let path = thread?.path();
                // A thread may end between the two calls.
                let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
                let time =
                    text.split(' ').next().and_then(|time| time.parse().ok()).ok_or("schedstat can't be read")?;
                threads.insert((pid, path.to_string_lossy().into_owned()), time);
            }
        }
        Ok(Cpu(threads))
    }

    /// Microseconds since then.
    pub fn since(&self, before: &Cpu) -> f64 {
        let spent =
            |(thread, time): (&(u32, String), &u64)| time - before.0.get(thread).copied().unwrap_or(0).min(*time);
        self.0.iter().map(spent).sum::<u64>() as f64 / 1_000.0
    }
}

/// Resident memory in KiB.
pub fn resident(pid: u32) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
