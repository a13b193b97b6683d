//! Floor 1, the codecs: functions from bytes to values and back. No I/O, no clock,
//! and no state between calls but that of a body in chunks.
//!
//! | file | what | specification |
//! |---|---|---|
//! | [`engine_packet`] | what a client sends | Engine.IO protocol 4, "Packet encoding" |
//! | [`payload`] | several packets in one HTTP body | Engine.IO protocol 4, "HTTP long-polling" |
//! | [`frame`] | what the server sends, encoded once for every receiver | Engine.IO protocol 4, RFC 6455 section 5.2 |
//! | [`socket_packet`], [`args`], [`to_args`] | events, acknowledgements, namespaces | Socket.IO protocol 5, "Packet encoding" |
//! | [`websocket`] | opening handshake's key, heads of outgoing frames | RFC 6455 sections 4.2.2 and 5.2 |
//! | [`opening`] | what is spoken to the wrong port, and the PROXY protocol | RFC 8446, RFC 9113, PROXY protocol 1 and 2 |
//! | [`origin`] | whose page a request is from, and what proxies say of it | RFC 6454, RFC 7239 |
//! | [`http`], [`chunked`], [`query`] | request heads, responses, bodies in chunks, queries | RFC 9112, URL Standard section 5 |
//!
//! Two rules hold in all of them, the first kept by clippy: no read beyond what was sent and no sum that overflows
//! (no indexing, slicing, unchecked arithmetic or cast); no allocation by a number that the peer announced, and no
//! recursion on its nesting.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects, clippy::as_conversions)
)]

pub mod args;
pub mod chunked;
pub mod engine_packet;
pub mod frame;
pub mod http;
pub(crate) mod json;
pub mod opening;
pub mod origin;
pub mod payload;
pub mod query;
pub mod socket_packet;
pub mod to_args;
pub(crate) mod validate;
pub mod websocket;
