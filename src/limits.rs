//! Every bound that can be set, in one place, each with the reason for its default. Those that can't are constants beside what they bound;
//! AUDIT.md, "Bounds", lists all of them.
//!
//! A limit is enforced where the bytes arrive; at the limit one client gets the answer that stands beside it, and nobody else notices.

/// What one client, and all clients together, may cost. All sizes in bytes, all times in milliseconds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// HTTP body, Engine.IO packet and WebSocket message; announced as `maxPayload`. At the limit: 413, or close 1009.
    pub max_payload: usize,
    /// Head of an HTTP request; room for large cookies, small enough to hold for a slow client. At the limit: 431.
    pub head_bytes: usize,
    /// Headers in a request; browsers send about 20. At the limit: 431.
    pub headers: usize,
    /// Time for a request's head to arrive; and without a byte of its body. Then: 408.
    pub request_ms: u64,
    /// Bytes a second that a body must come with, and an answer be taken with, beyond [`Limits::request_ms`] and [`Limits::answer_ms`]: the slowest
    /// mobile networks have several times that, and who holds a connection with less pays for each second with a byte. Then: 408, or closed.
    pub bytes_per_second: usize,
    /// Time in which nothing of an answer is taken. A system that sends takes a megabyte at once and then nothing until a third of it has left,
    /// which takes a slow line much longer than a byte does. Then: closed.
    pub answer_ms: u64,
    /// Time that a connection may rest between two requests: longer than the 60 s of common proxies, so that it is they who close it, and no
    /// request meets a connection that is just being closed.
    pub idle_ms: u64,
    /// Attachments of one binary packet, as in the official parser; each may be as large as a message. At the limit: closed, and told.
    pub attachments: usize,
    /// All attachments of one packet together; they wait in memory until the last is here. At the limit: closed, and told.
    pub attachments_bytes: usize,
    /// Time without a byte while attachments are due. Then: closed, and told.
    pub attachments_ms: u64,
    /// Packets in one polling payload; a megabyte of empty packets is an attack (CVE-2020-36048). At the limit: closed.
    pub packets_per_payload: usize,
    /// Fragments of one WebSocket message; tiny fragments cost more than their bytes. Where messages may be large it should grow with them: some
    /// clients send fragments of a few KiB. At the limit: close 1009.
    pub fragments: usize,
    /// Time to join a first namespace, as in the official server. Then: closed.
    pub connect_ms: u64,
    /// Time for a probing WebSocket to take over, as in the official server. Then: the probe is closed, polling goes on.
    pub upgrade_ms: u64,
    /// Unsent data for one client. At the limit: that client is cut; it recovers when it can read again.
    pub unsent_bytes: usize,
    /// Clients, that is Engine.IO sessions; see also [`Limits::tcp_connections`]. At the limit: 503.
    pub connections: usize,
    /// Sessions of one address, or of one /64 of IPv6, at once. At the limit: 429.
    pub sessions_per_address: usize,
    /// New sessions a second of one address, on the whole: what it has not used in a minute it may use at once. 0: as many as it likes. At the
    /// limit: 429.
    pub new_sessions_per_second: usize,
    /// Addresses that are not public (loopback, RFC 1918 and the like) are not bound by these two: behind one may stand a proxy that
    /// [`Options::trusts`](crate::Options::trusts) does not name, with all clients there are.
    pub spare_local_addresses: bool,
    /// Events a second of one client, on the whole: it may send ten seconds' at once. 0: as many as it likes. At the limit its connection is read
    /// more slowly, and nothing is lost.
    pub events_per_second: usize,
    /// `auth` of a CONNECT, kept as long as the client is in the namespace; room for what a head has room for, such as a large token. At the
    /// limit: connect error.
    pub auth_bytes: usize,
    /// Namespaces that one client may be in. At the limit: connect error.
    pub namespaces_per_client: usize,
    /// Rooms that one client may be in. At the limit: `join` returns an error.
    pub rooms_per_client: usize,
    /// Length of a room's or namespace's name. At the limit: error, connect error.
    pub name_bytes: usize,
    /// Names of all rooms that one client is in, together. At the limit: `join` returns an error.
    pub room_names_bytes: usize,
    /// Sessions of clients that are away, together, about; each takes its rooms, its data and some hundred bytes. At the limit: the oldest is
    /// forgotten, and its client will be new.
    pub away_bytes: usize,
    /// Entries that one return looks at: what came since its client was known to be there. At the limit: its client is new.
    pub replay_entries: usize,
    /// Acknowledgements that the server waits for from one client. At the limit: emit returns an error.
    pub pending_acks: usize,
    /// Events of one client in one namespace that wait for its handlers. At the limit: its connection is read no further until half of them
    /// are done.
    pub waiting_events: usize,
    /// Their bytes.
    pub waiting_event_bytes: usize,
    /// When a server stops, how long that waits for what handlers have begun, after the connections are gone. Then it goes on by itself, as long as
    /// its runtime does. 0: it is not waited for.
    pub finish_ms: u64,
    /// Entries of one log, whatever their age; recovery across what was dropped is refused.
    pub log_entries: usize,
    /// Packets that wait for a log that is away. At the limit: emit returns an error.
    pub log_waiting: usize,
    /// Their bytes.
    pub log_waiting_bytes: usize,
    /// Bytes of one log kept in memory, whatever their age; recovery across what was dropped is refused.
    pub log_bytes: usize,
}

impl Limits {
    /// Bytes of the data of one entry in a shared log. At the limit: readers skip it; so larger ones are not written.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.max_payload.saturating_mul(4).max(16 * 1024 * 1024)
    }

    /// Open connections of one address that is no proxy's. At the limit: closed.
    #[must_use]
    pub fn streams_per_address(&self) -> usize {
        self.sessions_per_address.saturating_mul(2).saturating_add(64)
    }

    /// Open TCP connections: a client on polling has one for its GET and one for its POST, and a few more may come to be refused or to
    /// look at the health page. At the limit: 503.
    #[must_use]
    pub fn tcp_connections(&self) -> usize {
        self.connections.saturating_mul(2).saturating_add(64)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_payload: 1_000_000,
            head_bytes: 16 * 1024,
            headers: 100,
            request_ms: 10_000,
            bytes_per_second: 1_000,
            answer_ms: 60_000,
            idle_ms: 75_000,
            attachments: 10,
            attachments_bytes: 10_000_000,
            attachments_ms: 10_000,
            packets_per_payload: 10_000,
            fragments: 1_000,
            connect_ms: 45_000,
            upgrade_ms: 10_000,
            unsent_bytes: 4 * 1024 * 1024,
            connections: 100_000,
            sessions_per_address: usize::MAX,
            new_sessions_per_second: 0,
            spare_local_addresses: false,
            events_per_second: 0,
            auth_bytes: 16 * 1024,
            namespaces_per_client: 100,
            rooms_per_client: 1_000,
            name_bytes: 1_024,
            room_names_bytes: 64 * 1024,
            away_bytes: 64 * 1024 * 1024,
            replay_entries: 1_000_000,
            pending_acks: 10_000,
            waiting_events: 100,
            waiting_event_bytes: 1024 * 1024,
            finish_ms: 3_000,
            log_entries: 1_000_000,
            log_waiting: 10_000,
            log_waiting_bytes: 64 * 1024 * 1024,
            log_bytes: 256 * 1024 * 1024,
        }
    }
}
