//! The recovery promises, tried in a deterministic simulation: one server over the in-memory log, or three over one log, clients that behave as
//! the official one, virtual time, and random schedules of everything that can happen between them. A seed repeats a schedule.
//!
//! `RILL_SIM_SCHEDULES=n` sets how many schedules run, `RILL_SIM_SEED=n` runs one and prints what it does. [`peer`] is the client. [`world`]
//! is what can happen to one server, and [`model`] says what each client must get; [`cluster`] is both for three servers. [`cases`] are schedules that once went wrong.

mod cases;
mod cluster;
mod model;
pub mod peer;
mod questions;
mod world;

use super::log::entry::{EventRef, Posted};
use super::log::memory::MemoryStreams;
use super::log::streams::{Command, Done, Item, Key, StreamError, Streams};
use crate::id::{Offset, Time};
use crate::limits::Limits;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Kind, World};

const STEPS: usize = 150;

fn run(seed: u64, kind: Kind, streams: Arc<dyn Streams>) -> Result<(), String> {
    let mut world = World::new(seed, kind, streams);
    for _ in 0..STEPS {
        world.step()?;
    }
    world.finish()
}

fn schedules() -> u64 {
    std::env::var("RILL_SIM_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

/// The seeds of one part in `share` of all schedules, or the one that was asked for.
fn seeds(share: u64) -> Range<u64> {
    let one = std::env::var("RILL_SIM_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    one.map_or(0..schedules() / share, |seed| seed..seed + 1)
}

/// Runs `kind`'s share of the schedules; each seed is one.
fn try_all(kind: Kind, share: u64) {
    for seed in seeds(share) {
        let limits = kind.limits();
        let streams = Arc::new(MemoryStreams::new(&limits));
        if let Err(error) = run(seed, kind, streams.clone()) {
            panic!("{kind:?}, RILL_SIM_SEED={seed}: {error}");
        }
        let keys = streams.keys(Time(1 << 40));
        assert!(keys <= 1, "{kind:?}, RILL_SIM_SEED={seed}: {keys} streams are left, one log at most should be");
    }
}

#[test]
fn every_client_gets_exactly_its_events() {
    try_all(Kind::Plain, 2);
}

#[test]
fn a_namespace_that_comes_and_goes_keeps_its_clients_events() {
    try_all(Kind::Dynamic, 4);
}

#[test]
fn a_log_that_forgets_is_never_a_silent_gap() {
    try_all(Kind::ShortLog, 4);
}

#[test]
fn clients_that_are_cut_because_they_do_not_read_lose_nothing() {
    try_all(Kind::SmallOutbox, 4);
}

fn run_cluster(seed: u64, kind: cluster::Kind) -> Result<(), String> {
    let mut cluster = cluster::Cluster::new(seed, kind);
    for _ in 0..STEPS {
        cluster.step()?;
    }
    cluster.finish()
}

fn try_cluster(kind: cluster::Kind, share: u64) {
    for seed in seeds(share) {
        if let Err(error) = run_cluster(seed, kind) {
            panic!("{kind:?}, RILL_SIM_SEED={seed}: {error}");
        }
    }
}

#[test]
fn clients_that_move_between_servers_lose_nothing() {
    try_cluster(cluster::Kind::Moves, 2);
}

#[test]
fn clients_of_servers_that_crash_lose_nothing() {
    try_cluster(cluster::Kind::Crashes, 2);
}

#[test]
fn servers_and_logs_that_stand_still_lose_nothing() {
    try_cluster(cluster::Kind::Stalls, 2);
}

#[test]
fn what_a_log_refuses_holds_nothing_up() {
    try_cluster(cluster::Kind::Refuses, 4);
}

#[test]
fn a_flushed_log_is_never_a_silent_gap() {
    try_cluster(cluster::Kind::Flushes, 4);
}

#[test]
fn a_lost_tail_and_another_log_are_never_a_silent_gap() {
    try_cluster(cluster::Kind::Losses, 2);
}

#[test]
fn a_log_that_others_cut_costs_connected_clients_nothing() {
    try_cluster(cluster::Kind::Cuts, 4);
}

#[test]
fn believing_an_offset_is_caught() {
    assert!((0..2_000).any(|seed| run_cluster(seed, cluster::Kind::BelievesOffsets).is_err()));
}

#[test]
fn delivering_own_messages_at_once_is_caught() {
    assert!((0..500).any(|seed| run_cluster(seed, cluster::Kind::DeliversOwnAtOnce).is_err()));
}

#[test]
fn repeating_appends_blindly_is_caught() {
    assert!((0..500).any(|seed| run_cluster(seed, cluster::Kind::RepeatsBlindly).is_err()));
}

/// A log that breaks its promise once in a while: the simulation must notice, or it proves nothing.
struct Broken {
    inner: MemoryStreams,
    reads: AtomicU64,
    swap: bool,
}

impl Streams for Broken {
    fn submit(&self, now: Time, command: Command, done: Option<Done>) -> Result<(), StreamError> {
        self.inner.submit(now, command, done)
    }

    fn shared(&self) -> bool {
        false
    }

    fn append_here(&self, now: Time, key: &Key, posted: &Arc<Posted>) -> Option<Offset> {
        self.inner.append_here(now, key, posted)
    }

    fn append_event(&self, now: Time, key: &Key, uid: &Arc<str>, event: EventRef<'_>) -> Option<Offset> {
        self.inner.append_event(now, key, uid, event)
    }

    fn at_hand(&self, now: Time, key: &Key, after: Offset, count: usize) -> Vec<Item> {
        let mut items = self.inner.at_hand(now, key, after, count);
        if items.len() > 2 && self.reads.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
            match self.swap {
                true => items.swap(0, 1),
                false => drop(items.remove(1)),
            }
        }
        items
    }
}

fn is_caught(swap: bool) -> bool {
    (0..500).any(|seed| {
        let broken = Broken { inner: MemoryStreams::new(&Limits::default()), reads: AtomicU64::new(0), swap };
        run(seed, Kind::Plain, Arc::new(broken)).is_err()
    })
}

#[test]
fn a_log_that_drops_an_entry_is_caught() {
    assert!(is_caught(false));
}

#[test]
fn a_log_that_swaps_two_entries_is_caught() {
    assert!(is_caught(true));
}
