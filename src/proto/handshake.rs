//! What an HTTP request to the Engine.IO path wants: open a session, poll, post, upgrade, or be refused with the official words.
//!
//! Engine.IO protocol 4, "Handshake" and "HTTP long-polling"; the order of the checks is the official server's, because clients and
//! monitoring know its codes.

use crate::codec::http::Method;
use crate::codec::query::Query;
use serde_json::json;
use std::fmt;

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    /// The name in queries and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Transport::Polling => "polling",
            Transport::WebSocket => "websocket",
        }
    }
}

/// Why a request is refused; the codes and messages are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `transport` is missing or none that this server offers.
    TransportUnknown,
    /// No session has this `sid`.
    UnknownSid,
    /// A session is opened by GET only.
    BadHandshakeMethod,
    /// The request does not fit the session's state or its headers are illegal.
    BadRequest,
    /// The application does not want this client.
    Forbidden,
    /// `EIO` is not 4.
    UnsupportedVersion,
}

impl Refusal {
    /// The official number of this refusal.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Refusal::TransportUnknown => 0,
            Refusal::UnknownSid => 1,
            Refusal::BadHandshakeMethod => 2,
            Refusal::BadRequest => 3,
            Refusal::Forbidden => 4,
            Refusal::UnsupportedVersion => 5,
        }
    }

    /// The official words.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Refusal::TransportUnknown => "Transport unknown",
            Refusal::UnknownSid => "Session ID unknown",
            Refusal::BadHandshakeMethod => "Bad handshake method",
            Refusal::BadRequest => "Bad request",
            Refusal::Forbidden => "Forbidden",
            Refusal::UnsupportedVersion => "Unsupported protocol version",
        }
    }

    /// The HTTP status: 403 where the application refused, else 400.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Refusal::Forbidden => 403,
            _ => 400,
        }
    }

    /// The body of the answer to a plain HTTP request, byte for byte as the official server's.
    #[must_use]
    pub fn body(self) -> String {
        format!(r#"{{"code":{},"message":"{}"}}"#, self.code(), self.message())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// A new session over this transport.
    Open(Transport),
    /// GET of a known session: fetch what waits.
    Poll,
    /// POST of a known session: deliver packets.
    Post,
    /// A WebSocket that wants to take a polling session over.
    Upgrade,
    /// A method that means nothing to a known session; the official server answers 500 with an empty body.
    Meaningless,
}

/// The parts of a request that decide.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The HTTP method.
    pub method: Method,
    /// The decoded query.
    pub query: &'a Query<'a>,
    /// The `Origin` header, if any.
    pub origin: Option<&'a str>,
    /// The request is a WebSocket opening handshake.
    pub upgrade: bool,
    /// The query has a `sid`, and a session of that name is there.
    pub known: bool,
}

/// Which transports a server offers.
#[derive(Clone, Copy, Debug)]
pub struct Offered {
    /// HTTP long-polling.
    pub polling: bool,
    /// WebSocket, also as upgrade.
    pub websocket: bool,
}

/// Decides what `request` wants, in the official order of checks (transport, origin, sid, method, version).
///
/// The application's own check (`Forbidden`) comes between method and version in the official server; here it comes last, so that it
/// never sees a request that would be refused anyway.
///
/// # Errors
/// See [`Refusal`]; the first check that fails counts.
pub fn verify(request: &Request<'_>, offered: Offered) -> Result<Intent, Refusal> {
    let transport = match request.query.get("transport") {
        Some("polling") if offered.polling => Transport::Polling,
        Some("websocket") if offered.websocket => Transport::WebSocket,
        _ => return Err(Refusal::TransportUnknown),
    };
    if request.origin.is_some_and(|origin| !is_header_text(origin)) {
        return Err(Refusal::BadRequest);
    }
    let version_4 = request.query.get("EIO") == Some("4");
    if request.query.get("sid").is_some_and(|sid| !sid.is_empty()) {
        return match (request.known, transport, request.upgrade, request.method) {
            (false, ..) => Err(Refusal::UnknownSid),
            // A request with a sid must have the EIO of its session.
            (true, ..) if !version_4 => Err(Refusal::BadRequest),
            (true, Transport::WebSocket, true, Method::Get) => Ok(Intent::Upgrade),
            (true, Transport::WebSocket, ..) | (true, Transport::Polling, true, _) => Err(Refusal::BadRequest),
            (true, Transport::Polling, false, Method::Get) => Ok(Intent::Poll),
            (true, Transport::Polling, false, Method::Post) => Ok(Intent::Post),
            (true, Transport::Polling, false, Method::Head | Method::Options | Method::Other) => {
                Ok(Intent::Meaningless)
            }
        };
    }
    match (request.method, transport, request.upgrade) {
        (Method::Post | Method::Head | Method::Options | Method::Other, ..) => Err(Refusal::BadHandshakeMethod),
        (Method::Get, Transport::WebSocket, false) | (Method::Get, Transport::Polling, true) => {
            Err(Refusal::BadRequest)
        }
        (Method::Get, ..) if !version_4 => Err(Refusal::UnsupportedVersion),
        (Method::Get, ..) => Ok(Intent::Open(transport)),
    }
}

/// RFC 9110 section 5.5: a field value has tabs and visible characters, no control characters.
fn is_header_text(value: &str) -> bool {
    value.chars().all(|c| c == '\t' || !c.is_control())
}

/// Timings and sizes that the open packet announces. Milliseconds and bytes.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// Between the pong and the next ping.
    pub ping_interval: u64,
    /// For the pong to arrive.
    pub ping_timeout: u64,
    /// The largest body or message that a client may send.
    pub max_payload: usize,
}

/// The open packet of a session that begins on `transport`: exactly the five keys of the protocol.
#[must_use]
pub fn open_packet(sid: &str, transport: Transport, offered: Offered, announced: Announced) -> String {
    let upgrades = match transport {
        Transport::Polling if offered.websocket => r#"["websocket"]"#,
        Transport::Polling | Transport::WebSocket => "[]",
    };
    format!(
        r#"0{{"sid":{},"upgrades":{upgrades},"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
        json!(sid),
        announced.ping_interval,
        announced.ping_timeout,
        announced.max_payload
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Offered = Offered { polling: true, websocket: true };

    fn run(method: Method, query: &str, upgrade: bool, known: bool) -> Result<Intent, Refusal> {
        let query = Query::parse(query);
        verify(&Request { method, query: &query, origin: None, upgrade, known }, BOTH)
    }

    #[test]
    fn requests_as_the_official_server_answers_them() {
        use Intent::*;
        use Refusal::*;
        use Transport::*;
        let table = [
            (Method::Get, "EIO=4&transport=polling", false, false, Ok(Open(Polling))),
            (Method::Get, "EIO=4&transport=websocket", true, false, Ok(Open(WebSocket))),
            (Method::Get, "transport=polling", false, false, Err(UnsupportedVersion)),
            (Method::Get, "EIO=abc&transport=polling", false, false, Err(UnsupportedVersion)),
            (Method::Get, "EIO=3&transport=polling", false, false, Err(UnsupportedVersion)),
            (Method::Get, "EIO=4", false, false, Err(TransportUnknown)),
            (Method::Get, "EIO=4&transport=abc", false, false, Err(TransportUnknown)),
            (Method::Get, "EIO=4&transport=", false, false, Err(TransportUnknown)),
            (Method::Get, "EIO=4&transport=constructor", true, false, Err(TransportUnknown)),
            (Method::Get, "EIO=4&transport=__proto__", true, false, Err(TransportUnknown)),
            (Method::Get, "EIO=4&transport=polling&transport=toString", true, false, Err(TransportUnknown)),
            (Method::Get, "EIO=4&transport=webtransport", false, false, Err(TransportUnknown)),
            (Method::Get, "EIO=4&transport=websocket", false, false, Err(BadRequest)),
            (Method::Post, "EIO=4&transport=polling", false, false, Err(BadHandshakeMethod)),
            (Method::Other, "EIO=4&transport=polling", false, false, Err(BadHandshakeMethod)),
            (Method::Get, "EIO=4&transport=polling&sid=abc", false, false, Err(UnknownSid)),
            (Method::Get, "EIO=4&transport=websocket&sid=__proto__", true, false, Err(UnknownSid)),
            (Method::Get, "EIO=4&transport=polling&sid=x", false, true, Ok(Poll)),
            (Method::Post, "EIO=4&transport=polling&sid=x", false, true, Ok(Post)),
            (Method::Get, "EIO=4&transport=websocket&sid=x", true, true, Ok(Upgrade)),
            (Method::Get, "EIO=4&transport=websocket&sid=x", false, true, Err(BadRequest)),
            (Method::Get, "EIO=4&transport=polling&sid=x", true, true, Err(BadRequest)),
            (Method::Get, "EIO=3&transport=polling&sid=x", false, true, Err(BadRequest)),
            (Method::Other, "EIO=4&transport=polling&sid=x", false, true, Ok(Meaningless)),
        ];
        for (method, query, upgrade, known, want) in table {
            assert_eq!(run(method, query, upgrade, known), want, "{query} upgrade={upgrade}");
        }
    }

    #[test]
    fn illegal_origin() {
        let query = Query::parse("EIO=4&transport=polling");
        let request =
            Request { method: Method::Get, query: &query, origin: Some("a\u{1}b"), upgrade: false, known: false };
        assert_eq!(verify(&request, BOTH), Err(Refusal::BadRequest));
    }

    #[test]
    fn the_open_packet_has_five_keys() {
        let announced = Announced { ping_interval: 300, ping_timeout: 200, max_payload: 1_000_000 };
        assert_eq!(
            open_packet("abc", Transport::Polling, BOTH, announced),
            r#"0{"sid":"abc","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}"#
        );
        assert!(open_packet("abc", Transport::WebSocket, BOTH, announced).contains(r#""upgrades":[]"#));
    }

    #[test]
    fn refusals_as_clients_know_them() {
        assert_eq!(Refusal::UnknownSid.body(), r#"{"code":1,"message":"Session ID unknown"}"#);
        assert_eq!((Refusal::Forbidden.status(), Refusal::BadRequest.status()), (403, 400));
    }
}
