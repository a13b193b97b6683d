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
//! 11. [Testing](testing): one's own application, in memory.
//! 12. [Coming from the Node server](coming_from_node): every option and call, one to one.

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
#[doc = include_str!("testing.md")]
pub mod testing {}
#[doc = include_str!("waiting.md")]
pub mod waiting {}

#[cfg(test)]
mod tests {
    /// What the official documentation of the server names: its options, then methods, attributes, flags and events.
    const OFFICIAL: &str = "
        path serveClient adapter parser connectTimeout connectionStateRecovery maxDisconnectionDuration skipMiddlewares
        cleanupEmptyChildNamespaces pingInterval pingTimeout upgradeTimeout maxHttpBufferSize allowRequest transports allowUpgrades
        perMessageDeflate httpCompression wsEngine cors cookie allowEIO3 addTrailingSlash destroyUpgrade destroyUpgradeTimeout initialPacket

        engine clientsCount generateId handleUpgrade connection_error initial_headers headers sockets adapter attach attachApp bind close
        disconnectSockets emit except fetchSockets in listen of on onconnection serverSideEmit serverSideEmitWithAck socketsJoin socketsLeave
        timeout to use send write allSockets new_namespace connection name local volatile create-room delete-room join-room leave-room rooms

        client conn data handshake id recovered request nsp connected compress disconnect emitWithAck join leave listenersAny
        listenersAnyOutgoing off offAny offAnyOutgoing onAny onAnyOutgoing once prependAny prependAnyOutgoing removeAllListeners
        removeListener eventNames listeners broadcast disconnecting

        streamName maxLen readCount sessionKeyPrefix heartbeatInterval heartbeatTimeout streamCount blockTimeInMs";

    #[test]
    fn every_name_of_the_official_documentation_has_a_row() {
        let page = include_str!("coming_from_node.md");
        let rows = page.lines().filter(|line| line.starts_with('|'));
        // What stands between backquotes, in the first column but for what an option has within.
        let code: String =
            rows.flat_map(|row| row.split('`').skip(1).step_by(2).map(|code| format!("{code} "))).collect();
        let known: Vec<&str> = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).collect();
        let missing: Vec<&str> = OFFICIAL.split_whitespace().filter(|name| !known.contains(name)).collect();
        assert!(missing.is_empty(), "no row for {missing:?}");
    }
}
