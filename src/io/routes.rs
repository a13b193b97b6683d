//! What each request is answered with. Engine.IO protocol 4, "HTTP long-polling" and "Upgrade"; codes and statuses are the official server's.

use super::cors;
use super::forward;
use super::http::{Flow, Gone, Http, NoBody};
use super::websocket::{Begin, LOOK, TURN};
use super::workers;
use crate::codec::http::{Head, Method, Response};
use crate::codec::query::Query;
use crate::codec::{engine_packet, origin, payload, websocket};
use crate::id::Time;
use crate::proto::handshake::{self, Intent, Refusal, Request, Transport};
use crate::proto::reason::Reason;
use crate::proto::session::{GetAnswer, Input, Via};
use crate::server::client::connection::{Connection, Outcome};
use crate::server::client::door::NoPlace;
use crate::server::client::handshake::Handshake;
use crate::server::client::repeats::{Request as Repeated, Verdict};
use crate::server::notice::Notice;
use crate::server::{Cors, Server};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::yield_now;

/// Answers one request.
pub(super) async fn respond(http: &mut Http, head: Head, keep_alive: bool) -> Result<Flow, Gone> {
    let (path, query) = head.path_and_query();
    let Some(below) = below(&http.server.options().path, path) else { return page(http, &head, keep_alive).await };
    if head.method == Method::Options && http.server.options().cors != Cors::Off {
        return send(http, &head, cors::preflight(&head), keep_alive).await;
    }
    // Below the path, pages come first, whatever the method: the browser client's files, as on the official server.
    if below.len() > 1
        && let Some(page) = http.server.options().pages.as_ref().and_then(|pages| pages(&head))
    {
        return send(http, &head, page, keep_alive).await;
    }
    let query = Query::parse(query);
    let session = query.get("sid").and_then(|sid| http.server.find(sid));
    if session.is_none()
        && let Some(flow) = pass_on(http, &head, &query).await
    {
        return flow;
    }
    let request = Request {
        method: head.method,
        query: &query,
        origin: head.headers.get("origin"),
        upgrade: head.asks_for_websocket(),
        known: session.is_some(),
    };
    match (handshake::verify(&request, http.server.options().offered), session) {
        (Ok(Intent::Open(transport)), _) => {
            if let Some(flow) = discard_body(http, &head).await {
                return flow;
            }
            open(http, &head, transport, query.get("b64").is_some(), keep_alive).await
        }
        (Ok(Intent::Poll), Some(session)) => {
            if let Some(flow) = discard_body(http, &head).await {
                return flow;
            }
            let carrier = http.carrier();
            let request = Repeated { target: &head.target, mark: query.get("t"), body: &[], carrier: &carrier };
            let now = http.server.now();
            if session.is_get_repeated(now, request) {
                session.handle(now, Input::Abort(Reason::TransportError));
            }
            poll(http, &head, &session, Vec::new(), keep_alive).await
        }
        (Ok(Intent::Post), Some(session)) => post(http, &head, query.get("t"), &session, keep_alive).await,
        (Ok(Intent::Upgrade), Some(session)) => {
            if let Some(flow) = discard_body(http, &head).await {
                return flow;
            }
            probe(http, &head, session).await
        }
        (Ok(Intent::Meaningless), _) => send(http, &head, Response::new(500), false).await,
        (Err(refusal), _) => refuse(http, &head, refusal, keep_alive).await,
        (Ok(Intent::Poll | Intent::Post | Intent::Upgrade), None) => {
            refuse(http, &head, Refusal::UnknownSid, keep_alive).await
        }
    }
}

/// What stands in a path behind that of the protocol, which may lack its slash.
fn below<'a>(protocol: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(protocol.trim_end_matches('/')).filter(|below| below.is_empty() || below.starts_with('/'))
}

/// Reads a body that means nothing, so that it is not taken for the next request, or for frames. `Some`: there is none to read any more.
async fn discard_body(http: &mut Http, head: &Head) -> Option<Result<Flow, Gone>> {
    if !head.has_body() {
        return None;
    }
    // Apart, because few requests need it, and every connection would have room for it.
    match Box::pin(http.read_body(head, || {})).await {
        Ok(_) => None,
        Err(NoBody::Gone) => Some(Err(Gone)),
        Err(NoBody::Status(status)) => Some(limit(http, head, status).await),
    }
}

/// Answers a request whose body can't be read.
pub(super) async fn limit(http: &mut Http, head: &Head, status: u16) -> Result<Flow, Gone> {
    http.server.metrics().refused_http.one();
    note_refused(http, head, format!("status {status}"));
    send(http, head, Response::new(status), false).await
}

/// The limit that a body has broken, by name and number.
fn too_large(http: &Http) -> String {
    format!("body larger than {} bytes", http.server.options().limits.max_payload)
}

/// Passes a request for a session that is not here on to the server that has it; `None`: it is answered here.
async fn pass_on(http: &mut Http, head: &Head, query: &Query<'_>) -> Option<Result<Flow, Gone>> {
    let sid = query.get("sid").filter(|_| !forward::is_forwarded(head))?;
    let owner = http.server.owner_address(sid)?;
    // Apart, because it is large, and every connection would have room for it.
    Box::pin(workers::all_own(forward::forward(http, head, &owner))).await
}

/// The client's address: the peer's, unless that is a proxy which is believed.
fn address(http: &Http, head: &Head) -> Box<str> {
    let trusts = http.server.options().trusts.as_ref();
    origin::client(http.peer, &head.headers, |address| trusts.is_some_and(|trusts| trusts(address))).to_string().into()
}

/// A request outside the protocol's path.
async fn page(http: &mut Http, head: &Head, keep_alive: bool) -> Result<Flow, Gone> {
    let page = match head.method {
        Method::Get | Method::Head => http.server.options().pages.as_ref().and_then(|pages| pages(head)),
        Method::Post | Method::Options | Method::Other => Some(Response::new(405).header("Allow", "GET, HEAD")),
    };
    let response = page.unwrap_or_else(|| Response::new(404).header("Content-Type", "text/plain").body("Not found\n"));
    send(http, head, response, keep_alive).await
}

/// The answer where there is no place: the server has as many connections as it may have, or can't have any yet, or their address has.
pub(super) fn no_place(server: &Server, why: NoPlace) -> Response {
    let (status, counter) = match why {
        NoPlace::Closed | NoPlace::Full => (503, &server.metrics().refused_full),
        NoPlace::AddressFull | NoPlace::TooQuick => (429, &server.metrics().refused_address),
    };
    counter.one();
    Response::new(status).header("Content-Type", "text/plain").header("Retry-After", "5").body(why.to_string())
}

fn note_refused(http: &Http, head: &Head, reason: String) {
    http.server.log(&Notice::HandshakeRefused { address: address(http, head).into(), reason });
}

/// Refuses a request with the official code: as JSON, or, where a WebSocket was asked for, as text.
async fn refuse(http: &mut Http, head: &Head, refusal: Refusal, keep_alive: bool) -> Result<Flow, Gone> {
    http.server.request_refused(refusal, &head.target, || address(http, head));
    note_refused(http, head, refusal.message().to_owned());
    if head.http11 && head.headers.has_token("upgrade", "websocket") {
        // RFC 6455 section 4.4: a refusal says which versions are understood; the client may have asked for another.
        let response = Response::new(400).header("Content-Type", "text/html").header("Sec-WebSocket-Version", "13");
        let response = response.body(refusal.message());
        return send(http, head, response, false).await;
    }
    let response = Response::new(refusal.status()).header("Content-Type", "application/json").body(refusal.body());
    send(http, head, response, keep_alive).await
}

/// Writes an answer. A body that was not read would be taken for the next request: the connection ends.
async fn send(http: &mut Http, head: &Head, response: Response, keep_alive: bool) -> Result<Flow, Gone> {
    let response = cors::allow(&http.server.options().cors, head, response);
    let keep_alive = keep_alive && !head.has_body();
    http.answer(&response, head.method != Method::Head, keep_alive).await?;
    Ok(if keep_alive { Flow::KeepAlive } else { Flow::Close })
}

async fn open(
    http: &mut Http,
    head: &Head,
    transport: Transport,
    base64: bool,
    keep_alive: bool,
) -> Result<Flow, Gone> {
    // One absolute deadline: the heartbeat begins when the request is handled.
    let now = http.server.now();
    let allow = http.server.options().allow_request.clone();
    let allowed = match allow {
        Some(allow) => allow(head).await,
        None => true,
    };
    let trusted = http.server.options().trusts.as_ref().is_some_and(|trusts| trusts(http.peer.to_canonical()));
    if !allowed || !cors::permits(&http.server.options().cors, head, trusted) {
        return refuse(http, head, Refusal::Forbidden, keep_alive).await;
    }
    let accept = match transport {
        Transport::Polling => None,
        Transport::WebSocket => match accept(head) {
            Some(accept) => Some(accept),
            None => return refuse(http, head, Refusal::BadRequest, false).await,
        },
    };
    let address = address(http, head);
    let kept = Handshake { headers: head.headers.clone(), url: head.target.clone(), address };
    let session = match http.server.open(now, transport, base64, kept) {
        Ok(session) => session,
        Err(why) => {
            note_refused(http, head, why.to_string().trim_end().to_owned());
            return send(http, head, no_place(&http.server, why), false).await;
        }
    };
    let more = http.server.options().initial_headers.as_ref().map(|headers| headers(head)).unwrap_or_default();
    match accept {
        None => poll(http, head, &session, more, keep_alive).await,
        Some(accept) => switch(http, accept, more, session, Begin::Session).await,
    }
}

/// The answer to an opening handshake that is in order. RFC 6455 sections 4.2.1 and 4.2.2.
fn accept(head: &Head) -> Option<Response> {
    let key = head.headers.get("sec-websocket-key").filter(|key| websocket::is_valid_key(key))?;
    if head.headers.get("sec-websocket-version") != Some("13") {
        return None;
    }
    let switching = Response::new(101)
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Accept", websocket::accept_key(key));
    Some(match websocket::subprotocol(head.headers.all("sec-websocket-protocol")).ok()? {
        Some(subprotocol) => switching.header("Sec-WebSocket-Protocol", subprotocol.to_owned()),
        None => switching,
    })
}

async fn switch(
    http: &mut Http,
    accept: Response,
    more: Vec<(&'static str, String)>,
    session: Arc<Connection>,
    begin: Begin,
) -> Result<Flow, Gone> {
    if http.answer(&accept.headers(more), false, true).await.is_err() {
        session.handle(http.server.now(), Input::SocketClosed(begin.via()));
        return Err(Gone);
    }
    Ok(Flow::WebSocket(session, begin))
}

/// A WebSocket that wants to take a polling session over.
async fn probe(http: &mut Http, head: &Head, session: Arc<Connection>) -> Result<Flow, Gone> {
    let Some(accept) = accept(head) else {
        return refuse(http, head, Refusal::BadRequest, false).await;
    };
    match session.handle(http.server.now(), Input::ProbeOpens) {
        // A second WebSocket is opened and closed: clients take a refused one for a broken server.
        Outcome::Refused(Refusal::BadRequest) => {
            http.answer(&accept, false, true).await?;
            http.write(&websocket::close(1000, "")).await?;
            Ok(Flow::Close)
        }
        Outcome::Refused(refusal) => refuse(http, head, refusal, false).await,
        Outcome::Handled | Outcome::Reply(_) | Outcome::Upgraded => {
            switch(http, accept, Vec::new(), session, Begin::Probe).await
        }
    }
}

/// Tells a session that nobody waits for an answer any more, when the task that did is dropped: as it is where another program's server has
/// read the request.
struct Abandoned<'a>(&'a Arc<Connection>, Option<Input<'static>>);

impl Abandoned<'_> {
    fn defuse(mut self) {
        self.1 = None;
    }
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(input) = self.1.take() {
            self.0.handle(self.0.server().now(), input);
        }
    }
}

/// GET of a session: answered when something waits.
async fn poll(
    http: &mut Http,
    head: &Head,
    session: &Arc<Connection>,
    more: Vec<(&'static str, String)>,
    keep_alive: bool,
) -> Result<Flow, Gone> {
    if let Outcome::Refused(refusal) = session.handle(http.server.now(), Input::Get) {
        return refuse(http, head, refusal, keep_alive).await;
    }
    let abandoned = Abandoned(session, Some(Input::GetAborted));
    let Some(answer) = http.while_open(|cx| session.poll_get(cx.waker())).await else { return Err(Gone) };
    abandoned.defuse();
    let mut frames = match answer {
        GetAnswer::Packets(frames) => frames,
        GetAnswer::Refused(refusal) => return refuse(http, head, refusal, keep_alive).await,
    };
    let response = Response::new(200)
        .header("Content-Type", "text/plain; charset=UTF-8")
        .header("Cache-Control", "no-store")
        .headers(more)
        .body(payload::encode(frames.make_contiguous()));
    let flow = send(http, head, response, keep_alive).await;
    match flow {
        Ok(_) => session.sent(frames.iter().map(|frame| frame.websocket().len()).sum()),
        // The packets are lost: the session ends, whatever carries it by now, and its client recovers what it missed.
        Err(Gone) => {
            session.handle(http.server.now(), Input::Abort(Reason::TransportError));
        }
    }
    flow
}

/// POST of a session: packets from the client. `mark` is the `t` of its query.
async fn post(
    http: &mut Http,
    head: &Head,
    mark: Option<&str>,
    session: &Arc<Connection>,
    keep_alive: bool,
) -> Result<Flow, Gone> {
    if let Outcome::Refused(refusal) = session.handle(http.server.now(), Input::PostBegins) {
        return refuse(http, head, refusal, keep_alive).await;
    }
    session.note_post(&head.headers);
    if head.headers.get("content-type") == Some("application/octet-stream") {
        session.handle(http.server.now(), Input::Garbage(Via::Polling));
        return send(http, head, Response::new(400), false).await;
    }
    let goes_on = || {
        session.handle(session.server().now(), Input::PostGoesOn);
    };
    let body = http.read_body(head, goes_on).await;
    // The body may have taken its time.
    let now = http.server.now();
    let body = match body {
        Ok(body) => body,
        Err(NoBody::Gone) => {
            session.handle(now, Input::PostAborted);
            return Err(Gone);
        }
        // Nothing of it was taken: the session lives, as on the official server.
        Err(NoBody::Status(413)) => {
            session.handle(now, Input::PostEnds);
            let reason = too_large(http);
            http.server.log(&Notice::RequestRefused { session: format!("{:?}", session.sid), reason });
            return limit(http, head, 413).await;
        }
        Err(NoBody::Status(status)) => {
            session.handle(now, Input::PostAborted);
            return limit(http, head, status).await;
        }
    };
    let carrier = http.carrier();
    let verdict = session.judge_post(now, Repeated { target: &head.target, mark, body: &body, carrier: &carrier });
    if verdict == Verdict::New {
        let abandoned = Abandoned(session, Some(Input::PostAborted));
        deliver(&http.server, session, now, &body).await;
        abandoned.defuse();
    }
    session.handle(http.server.now(), Input::PostEnds);
    if verdict == Verdict::Doubtful {
        return refuse(http, head, Refusal::BadRequest, false).await;
    }
    let response = cors::allow(&http.server.options().cors, head, taken());
    http.answer(&response, true, keep_alive).await?;
    Ok(Flow::KeepAlive)
}

/// The answer to a POST whose packets have been handled.
fn taken() -> Response {
    Response::new(200).header("Content-Type", "text/html").body("ok")
}

/// Hands the packets of a body to their session, up to the first that is none.
async fn deliver(server: &Server, session: &Arc<Connection>, mut now: Time, body: &[u8]) {
    let most = server.options().limits.packets_per_payload;
    // A browser's text is always UTF-8; what other clients send that isn't is read as the official server reads it, with U+FFFD.
    let text = String::from_utf8_lossy(body);
    for (i, packet) in payload::packets(&text).enumerate() {
        if i > 0 && (i % TURN == 0 || i % LOOK == 0 && server.now() > now) {
            // A client that floods must not make others of the thread wait.
            yield_now().await;
            now = server.now();
        }
        match engine_packet::decode(packet) {
            Ok(packet) if i < most => {
                if session.is_full() {
                    let reads_on = |cx: &mut Context<'_>| session.poll_reading(Via::Polling, cx.waker());
                    poll_fn(|cx| if reads_on(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
                    now = server.now();
                }
                session.handle(now, Input::Packet(Via::Polling, packet));
            }
            Ok(_) | Err(_) => {
                if i >= most {
                    let reason = format!("more than {most} packets in one body");
                    server.log(&Notice::ClientClosed { session: format!("{:?}", session.sid), reason });
                }
                session.handle(now, Input::Garbage(Via::Polling));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_path_with_its_slash_and_without() {
        for (protocol, path, want) in [
            ("/socket.io/", "/socket.io/", Some("/")),
            ("/socket.io/", "/socket.io", Some("")),
            ("/socket.io", "/socket.io/", Some("/")),
            ("/socket.io/", "/socket.io/socket.io.js", Some("/socket.io.js")),
            ("/socket.io/", "/socket.iox/", None),
            ("/socket.io/", "/socket.i", None),
            ("/socket.io/", "/", None),
            ("/a/b/", "/a/b", Some("")),
            ("/a/b/", "/a/", None),
            ("/", "/x", Some("/x")),
        ] {
            assert_eq!(below(protocol, path), want, "{protocol} {path}");
        }
    }
}
