//! The guide, to be read from front to back; its code compiles, and most of it runs in the tests.
//!
//! 1. [Getting started](getting_started): a server, a client, events.
//! 2. [Rooms](rooms): who gets a message.
//! 3. [Acknowledgements](acks): questions and answers, to one client or to all.
//! 4. [Waiting](waiting): databases, order, and what happens to those who send faster.
//! 5. [Joining another server](joining): Axum, hyper, TLS, Unix sockets.
//! 6. [Middlewares](middlewares): who may come in.
//! 7. [Recovery](recovery): what a client finds when it comes back.
//! 8. [Cluster](cluster): several servers that are one.
//! 9. [Deploying](deploying): a binary of one's own.
//! 10. [Limits](limits): what a client may cost.
//! 11. [Coming from the Node server](coming_from_node): every option and call, one to one.

#[doc = include_str!("acks.md")]
pub mod acks {}
#[doc = include_str!("cluster.md")]
pub mod cluster {}
#[doc = include_str!("coming_from_node.md")]
pub mod coming_from_node {}
#[doc = include_str!("deploying.md")]
pub mod deploying {}
#[doc = include_str!("getting_started.md")]
pub mod getting_started {}
#[doc = include_str!("joining.md")]
pub mod joining {}
#[doc = include_str!("limits.md")]
pub mod limits {}
#[doc = include_str!("middlewares.md")]
pub mod middlewares {}
#[doc = include_str!("recovery.md")]
pub mod recovery {}
#[doc = include_str!("rooms.md")]
pub mod rooms {}
#[doc = include_str!("waiting.md")]
pub mod waiting {}
