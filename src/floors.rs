//! The floors of the library, lowest first; imports go down only, and `scripts/check` holds that. What applications use of them is in the root
//! of the crate.
//!
//! | floor | what it knows |
//! |---|---|
//! | `id`, `limits` | names, times, bounds |
//! | [`codec`] | bytes to values and back |
//! | [`proto`] | state machines without I/O |
//! | [`server`] | namespaces, rooms, the log, the cluster, recovery |
//! | [`io`] | sockets, tokio, Redis |
//! | [`app`] | what the binary adds for people |

#[path = "app/mod.rs"]
pub mod app;
#[path = "codec/mod.rs"]
pub mod codec;
#[path = "id.rs"]
pub mod id;
#[path = "io/mod.rs"]
pub mod io;
#[path = "limits.rs"]
pub mod limits;
#[path = "proto/mod.rs"]
pub mod proto;
#[path = "server/mod.rs"]
pub mod server;
