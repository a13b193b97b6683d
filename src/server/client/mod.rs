//! Clients: Engine.IO connections, the sockets that speak over them, and what the application hears of both.
//!
//! Guarantees: the events of one client reach the application in order, and with no lock held.
//! May lock: one connection or socket at a time, and nothing above the hub while it holds one.

pub mod connection;
pub mod door;
pub mod events;
pub mod extensions;
pub mod handler;
pub mod handshake;
pub(crate) mod joining;
pub(crate) mod life;
mod pace;
pub(crate) mod repeats;
pub(crate) mod sessions;
pub mod socket;
mod turn;
mod wakers;
