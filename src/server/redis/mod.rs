//! The log on Redis: all that touches Redis's bytes, without a socket and without tokio.
//!
//! Guarantees: no reply, however wrong, panics or grows memory past its bounds; a command is answered once.
//! May lock: nothing.

pub mod commands;
pub mod msgpack;
pub(crate) mod pipeline;
pub mod resp;
pub(crate) mod shelves;
pub mod wire;
pub(crate) mod wire_error;
