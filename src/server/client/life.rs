//! Where a socket is in its life: looked at for every packet, without a lock.

use std::sync::atomic::{AtomicU8, Ordering};

/// The stations, in the order in which they come; a socket may skip some, and goes back and forth between busy and live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The middlewares have not decided.
    Joining = 0,
    /// In the namespace; the handler does not know it yet.
    Admitted = 1,
    /// In the namespace; the handler's `connect` runs, or a handler waits: what comes stands in line.
    Busy = 2,
    /// In the namespace; what comes is handled at once.
    Live = 3,
    /// Cut off; its session may come back.
    Away = 4,
    /// Out of the namespace for good.
    Gone = 5,
}

/// A [`Life`] that any thread may read. It is changed with the lock of the socket's state held.
pub(crate) struct LifeCell(AtomicU8);

impl Default for LifeCell {
    fn default() -> LifeCell {
        LifeCell(AtomicU8::new(Life::Joining as u8))
    }
}

impl LifeCell {
    pub(crate) fn get(&self) -> Life {
        match self.0.load(Ordering::Acquire) {
            0 => Life::Joining,
            1 => Life::Admitted,
            2 => Life::Busy,
            3 => Life::Live,
            4 => Life::Away,
            _ => Life::Gone,
        }
    }

    pub(crate) fn set(&self, life: Life) {
        self.0.store(life as u8, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_as_it_was_set() {
        let cell = LifeCell::default();
        assert_eq!(cell.get(), Life::Joining);
        for life in [Life::Admitted, Life::Busy, Life::Live, Life::Away, Life::Gone, Life::Joining] {
            cell.set(life);
            assert_eq!(cell.get(), life);
        }
    }
}
