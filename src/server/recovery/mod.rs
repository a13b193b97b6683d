//! Connection state recovery: session records and claims, and the return of a client.
//!
//! Guarantees: `recovered: true` is complete: every missed packet once, in order, or the client is told that it is new.
//! May lock: one socket's state, and the bytes of sessions that are away; the hub is lent by the namespace.
//!
//! | file | what |
//! |---|---|
//! | `returning` | the way of a CONNECT to the door, as a state machine: the promise is decided there |
//! | `replay` | what a client missed |
//! | [`record`] | who owns a session, and why one is refused |
//! | `kept` | what a socket keeps of its session |
//! | `keep` | when a record is written, and how a session ends |

pub(crate) mod keep;
pub(crate) mod kept;
pub mod record;
pub(crate) mod replay;
pub(crate) mod returning;
