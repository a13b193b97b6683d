//! Connection state recovery: session records and claims, and the return of a client.
//!
//! Guarantees: `recovered: true` is complete: every missed packet once, in order, or the client is told that it is new.
//! May lock: nothing itself; what changes rooms and clients goes through the namespace.

pub mod record;
pub(crate) mod restore;
