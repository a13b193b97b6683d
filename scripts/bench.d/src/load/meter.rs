//! Counts while a run lasts, and tells its clients when it is over.

use crate::process::{Cpu, resident};
use crate::{Failure, Plan};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// What was sent must have come back by then.
const MOST_DRAIN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Meter {
    operations: Cell<u64>,
    disorder: Cell<u64>,
    measuring: Cell<bool>,
    stopping: Cell<bool>,
    latencies: RefCell<Vec<u32>>,
    failure: RefCell<Option<Failure>>,
    failed: Notify,
}

impl Meter {
    pub fn stopping(&self) -> bool {
        self.stopping.get()
    }

    /// One operation is done; whether in its turn.
    pub fn done(&self, ordered: bool) {
        self.operations.set(self.operations.get() + 1);
        if !ordered && self.measuring.get() {
            self.disorder.set(self.disorder.get() + 1);
        }
    }

    /// How long a message took that was sent at this time.
    pub fn took(&self, sent: Instant) {
        if self.measuring.get() {
            self.latencies.borrow_mut().push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// Ends the run, which a task can only do that is waited for.
    pub fn fail(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert(failure);
        self.failed.notify_one();
    }

    /// Lets the tasks warm up, measures, and lets them end. All of them must end well.
    pub async fn run(&self, plan: &Plan, mut tasks: JoinSet<Result<(), Failure>>) -> Result<Value, Failure> {
        let measured = async {
            sleep(plan.warm).await;
            self.measuring.set(true);
            let (cpu, redis) = (Cpu::read(&plan.pids)?, Cpu::read(plan.redis.as_slice())?);
            let (operations, start) = (self.operations.get(), Instant::now());
            sleep(plan.time).await;
            self.measuring.set(false);
            let seconds = start.elapsed().as_secs_f64();
            let operations = self.operations.get() - operations;
            if operations == 0 {
                return Err("nothing came back".into());
            }
            let (cpu, redis) = (Cpu::read(&plan.pids)?.since(&cpu), Cpu::read(plan.redis.as_slice())?.since(&redis));
            let mut latencies = self.latencies.take();
            latencies.sort_unstable();
            let quantile = |part: f64| latencies.get((latencies.len() as f64 * part) as usize);
            Ok::<_, Failure>(json!({
                "operations": operations,
                "seconds": seconds,
                "cpu": cpu / operations as f64,
                "redis": redis / operations as f64,
                "median": quantile(0.5),
                "p99": quantile(0.99),
                "disorder": self.disorder.get(),
            }))
        };
        let result = tokio::select! {
            result = measured => result?,
            early = tasks.join_next() => return Err(ended(early).err().unwrap_or_else(|| "a client ended".into())),
            () = self.failed.notified() => return Err(self.failure.take().unwrap_or_else(|| "a client failed".into())),
        };
        self.stopping.set(true);
        let drained = async {
            while let Some(task) = tasks.join_next().await {
                ended(Some(task))?;
            }
            Ok::<_, Failure>(())
        };
        timeout(MOST_DRAIN, drained).await.map_err(|_| "not all that was sent has come back")??;
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(result),
        }
    }
}

fn ended(task: Option<Result<Result<(), Failure>, tokio::task::JoinError>>) -> Result<(), Failure> {
    match task {
        Some(task) => task?,
        None => Err("there are no clients".into()),
    }
}

/// Resident memory of the servers, in bytes.
pub fn memory(plan: &Plan) -> Result<f64, Failure> {
    let sizes = plan.pids.iter().map(|pid| resident(*pid)).collect::<Result<Vec<_>, _>>()?;
    Ok(sizes.iter().sum::<u64>() as f64 * 1024.0)
}
