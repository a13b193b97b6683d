//! Floor 2: the protocol state machines. Bytes and time in, values and the next timeout out; no I/O, no clock, no randomness.
//!
//! [`handshake`] decides what a request is, [`session`] is one Engine.IO session over both transports, [`outbox`] what waits for its client,
//! [`websocket`] the receiving side of RFC 6455, [`client`] one Socket.IO client with its namespaces and half-received binary packets,
//! [`auth`] what its CONNECT says of the session that it wants back.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions))]

pub mod auth;
pub mod client;
pub mod handshake;
pub mod outbox;
pub mod reason;
pub mod session;
pub mod websocket;
