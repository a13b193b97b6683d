//! What becomes of what this server writes into a shared log: it comes back, or it is refused; and what others write that can't be true.
//!
//! The rules: who asked hears of an entry once, when it was delivered here or when the log has refused it. A number that was refused holds
//! nothing up. A log keeps to its bytes. An id from far ahead of the log's clock is passed over.

use crate::id::{Offset, Time};
use crate::server::client::socket::EmitError;
use crate::server::log::Seam;
use crate::server::log::budget::Budget;
use crate::server::log::entry::{Entry, Posted};
use crate::server::log::streams::{Command, Done, Key, Reply, StreamError};
use crate::server::namespace::Namespace;
use crate::server::namespace::hub::Hub;
use crate::server::notice::Notice;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Milliseconds by which the id of another's entry may be ahead of where this server's own entries stand by now.
pub(crate) const AHEAD: u64 = 3_600_000;

/// Hears whether an entry has come back, or was refused.
pub(crate) type Settled = Box<dyn FnOnce(Result<(), EmitError>) + Send>;

/// What is kept for that, beside how far a log has been read.
#[derive(Default)]
pub(crate) struct Fate {
    /// Who wants to know what becomes of this server's entries, by their number. Bounded by what may wait for the log.
    asked: BTreeMap<u64, Settled>,
    /// Numbers of entries that the log refused, above the last that has come back.
    refused: BTreeSet<u64>,
    /// The bytes of the log.
    budget: Budget,
    /// How far the log's clock is ahead of this server's (above half of all numbers: behind), as the last own entry told.
    skew: Option<u64>,
    /// An entry from far ahead was told of.
    told: bool,
}

impl Fate {
    /// The log is read from this server's marker on.
    pub(crate) fn begin(&mut self, marker: Offset, now: Time) {
        self.budget.clear();
        self.skew = Some(marker.ms.wrapping_sub(now.0));
    }

    pub(crate) fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    pub(crate) fn ask(&mut self, seq: u64, settled: Settled) {
        self.asked.insert(seq, settled);
    }

    pub(crate) fn take_asked(&mut self, seq: u64) -> Option<Settled> {
        self.asked.remove(&seq)
    }

    /// Those who will never hear of their entries, because the log was lost.
    pub(crate) fn forget_asked(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.asked).into_values().collect()
    }

    pub(crate) fn refuse(&mut self, seq: u64) {
        self.refused.insert(seq);
    }

    /// Numbers that never come back count as if they had, once all before them have.
    pub(crate) fn pass_refused(&mut self, mut returned: u64) -> u64 {
        while let Some(first) = self.refused.first().copied().filter(|first| *first <= returned + 1) {
            self.refused.pop_first();
            returned = returned.max(first);
        }
        returned
    }

    /// Whether another's entry has an id that Redis's clock can't have given to it; and whether that is news.
    pub(crate) fn is_from_far_ahead(&mut self, now: Time, id: Offset, own: bool) -> Option<bool> {
        if own {
            self.skew = Some(id.ms.wrapping_sub(now.0));
        }
        let ahead = id.ms.wrapping_sub(now.0.wrapping_add(self.skew?));
        // Above half of all numbers: behind.
        (AHEAD..u64::MAX / 2).contains(&ahead).then(|| !std::mem::replace(&mut self.told, true))
    }
}

impl Namespace {
    /// As `publish`, for an entry of which `settled` hears once it has come back, or was refused: at once, where the log is in this process.
    pub(crate) fn publish_then(&self, entry: Entry, settled: Settled) {
        if self.core.seam() != Seam::Shared {
            return settled(self.publish(entry));
        }
        let appended = self.with_hub(|hub| match self.append(hub, entry) {
            Ok(seq) => {
                hub.reader.ask(seq, settled);
                Ok(())
            }
            Err(error) => Err((settled, error)),
        });
        if let Err((settled, error)) = appended {
            settled(Err(error));
        }
    }

    /// The log has refused this server's entry number `seq`: it will never come back, and what waits for it goes on. A log that is full gives
    /// up its oldest entries; one that nobody can append to any more begins anew.
    pub(crate) fn not_written(self: &Arc<Self>, seq: u64, error: StreamError) {
        self.core.metrics.log_failures.one();
        let (settled, deferred) = self.with_hub(|hub| {
            let settled = hub.reader.was_refused(seq);
            let mut deferred = Vec::new();
            self.release(hub, &mut deferred);
            (settled, deferred)
        });
        if let Some(settled) = settled {
            settled(Err(EmitError::Log(error)));
        }
        self.run(deferred);
        if error == StreamError::Exhausted {
            self.begin_anew();
        }
    }

    /// Somebody has written the last possible id: nobody can append behind it. The log is deleted, which is a hole like any other, if that
    /// entry still stands there.
    fn begin_anew(self: &Arc<Self>) {
        let me = self.clone();
        let last = Offset { ms: u64::MAX, seq: u64::MAX };
        let done: Done = Box::new(move |reply| {
            if matches!(reply, Reply::Entries(items) if items.iter().any(|(id, _)| *id == last)) {
                me.core.log(&Notice::LogExhausted { namespace: me.name().clone() });
                let _ = me.submit(Command::Expire { key: me.key(), ms: 0 }, None);
                me.check_log();
            }
        });
        let _ = self.submit(Command::XRead { key: self.key(), after: last.before(), count: 1 }, Some(done));
    }

    /// The log's key, as cursors have it.
    pub(crate) fn log_key(&self) -> Key {
        self.key()
    }

    /// The log can't be read any more: what it held is lost to this server.
    pub(crate) fn unreadable(self: &Arc<Self>) {
        self.lost(self.position());
    }

    /// Redis has no memory left: this log gives up its oldest part. Gives the command that does it.
    pub(crate) fn make_room(&self) -> Option<Command> {
        let min = self.with_hub(|hub| hub.reader.budget().shrink())?;
        Some(Command::XTrim { key: self.key(), min })
    }

    /// Another's entry from far ahead is skipped, counted, and told of once.
    pub(crate) fn is_from_far_ahead(&self, hub: &mut Hub, id: Offset, posted: &Posted, now: Time) -> bool {
        let Some(news) = hub.reader.is_from_far_ahead(now, id, posted.uid == self.core.uid) else { return false };
        self.core.metrics.log_unreadable.one();
        if news {
            self.core.log(&Notice::EntryAhead { namespace: self.name().clone(), id });
        }
        true
    }

    /// About how many bytes a shared log holds, and for how many milliseconds back, where that is less than is wanted because of its bytes.
    #[must_use]
    pub fn held(&self) -> (u64, Option<u64>) {
        self.with_hub(|hub| {
            let position = hub.reader.position();
            let budget = hub.reader.budget();
            (budget.held(), budget.cut().map(|cut| position.ms.saturating_sub(cut.ms)))
        })
    }

    /// Counts an entry's bytes. Gives the entry before which the log is to be cut, if it has too many.
    pub(crate) fn note_bytes(&self, hub: &mut Hub, id: Offset, posted: &Posted) -> Option<Offset> {
        hub.reader.budget().note(id, posted.entry.weight(), self.core.options.limits.log_bytes)
    }

    /// Cuts the log, but never where this server still has to look.
    pub(crate) fn cut_off(&self, hub: &Hub, min: Option<Offset>) {
        if let Some(min) = min {
            let _ = self.submit(Command::XTrim { key: self.key(), min: hub.reader.may_cut(min) }, None);
        }
    }
}
