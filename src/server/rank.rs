//! Which lock may be taken under which: a lock's rank must be higher than that of every lock that the thread holds.
//!
//! ```text
//! namespaces < hub < { socket, connection, sessions, cluster, questions, away } < log < timers < leaf
//! ```
//!
//! So no two threads wait for each other. Debug builds assert it at each lock, and the simulation takes them in every order
//! that the code has; a release build knows nothing of ranks.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The ranks, lowest first. Two locks of one rank are never held together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The table of namespaces, and the rules that make some.
    Namespaces,
    /// A namespace's clients, rooms and reader: what orders everything that clients observe.
    Hub,
    /// One client, one connection, or one table of the server: only one of them at a time.
    One,
    /// What waits for the log, and the log in this process.
    Log,
    /// Deadlines.
    Timers,
}

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::RefCell<Vec<Rank>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A rank that is held.
pub(crate) struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
}

impl Held {
    /// Takes a rank, before its lock is waited for.
    pub(crate) fn take(rank: Rank) -> Held {
        #[cfg(debug_assertions)]
        HELD.with_borrow_mut(|held| {
            assert!(held.iter().all(|lower| *lower < rank), "{rank:?} is locked under {held:?}");
            held.push(rank);
        });
        #[cfg(not(debug_assertions))]
        let _ = rank;
        Held {
            #[cfg(debug_assertions)]
            rank,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|rank| *rank == self.rank) {
                held.remove(at);
            }
        });
    }
}

/// What a lock guards, while it is held.
pub(crate) struct Locked<'a, T> {
    // Dropped first.
    guard: MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Locks a mutex of this rank. If a handler's own panic ever poisoned one, its data is still whole.
pub(crate) fn lock_as<T>(rank: Rank, mutex: &Mutex<T>) -> Locked<'_, T> {
    let held = Held::take(rank);
    Locked { guard: mutex.lock().unwrap_or_else(PoisonError::into_inner), _held: held }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(debug_assertions)]
    fn a_wrong_order_of_locks_is_caught() {
        let (hub, socket, timers) = (Mutex::new(()), Mutex::new(()), Mutex::new(()));
        let caught = |first: (Rank, &Mutex<()>), second: (Rank, &Mutex<()>)| {
            let act = || {
                let _first = lock_as(first.0, first.1);
                drop(lock_as(second.0, second.1));
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).is_err()
        };
        assert!(!caught((Rank::Hub, &hub), (Rank::One, &socket)));
        assert!(!caught((Rank::One, &socket), (Rank::Timers, &timers)));
        assert!(caught((Rank::One, &socket), (Rank::Hub, &hub)));
        assert!(caught((Rank::Timers, &timers), (Rank::One, &socket)));
        assert!(caught((Rank::One, &socket), (Rank::One, &hub)), "two of one rank");
        assert!(!caught((Rank::Namespaces, &timers), (Rank::Hub, &hub)), "nothing is left behind");
    }
}
