//! The head of an HTTP request, and responses.
//!
//! RFC 9112 (HTTP/1.1) and RFC 9110. httparse reads names, values and the request line; here are the rules about the
//! whole, above all those that say where a request ends: where we and a proxy in front of us could disagree about
//! that, one client could smuggle a request into another's connection, so such a head is refused.
//!
//! A body has a `Content-Length` or comes in chunks, which [`super::chunked`] reads; one with both is refused.

use bytes::Bytes;
use httparse::{EMPTY_HEADER, Header, Status};
use memchr::{memchr, memchr_iter};
use std::borrow::Cow;
use std::fmt;

/// A header of a response.
pub type Field = (Cow<'static, str>, Cow<'static, str>);

/// What the client wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// HEAD: answered like GET, without the body.
    Head,
    /// OPTIONS.
    Options,
    /// Any other.
    Other,
}

/// The headers of a request, names in lower case, in the order in which they came; all in one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// `name:value`, one behind the other. A name has no colon.
    text: Box<str>,
    /// Where each ends.
    ends: Box<[u32]>,
}

impl Headers {
    /// The first header of this name, which is in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers of this name, which is in lower case.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.spans().filter_map(move |(from, end)| {
            // The colon first: it is rarely at that place, and then the names needn't be compared.
            let colon = from.checked_add(name.len())?;
            if self.text.as_bytes().get(colon) != Some(&b':') || self.text.get(from..colon) != Some(name) {
                return None;
            }
            self.text.get(colon.saturating_add(1)..end)
        })
    }

    /// All headers: name in lower case, value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans().filter_map(|(from, end)| self.text.get(from..end)?.split_once(':'))
    }

    /// Where each header begins and ends in the text.
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut from = 0;
        self.ends.iter().filter_map(move |end| {
            let end = usize::try_from(*end).ok()?;
            Some((std::mem::replace(&mut from, end), end))
        })
    }

    /// Whether a comma-separated header, such as `connection`, has this element. Case doesn't matter in the element.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| value.split(',').any(|element| element.trim().eq_ignore_ascii_case(token)))
    }
}

/// How the end of a request's body is found. RFC 9112 section 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It has so many bytes; none without a `Content-Length`. A number beyond measure is `usize::MAX`.
    Length(usize),
    /// It comes in chunks.
    Chunked,
}

/// The head of a request: request line and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// What the request is about, as it was sent.
    pub target: Box<str>,
    /// The headers.
    pub headers: Headers,
    /// The body that follows.
    pub body: Body,
    /// HTTP/1.1, not 1.0.
    pub http11: bool,
    /// Whether the client lets the connection stay open after the response.
    pub keep_alive: bool,
}

impl Head {
    /// The path of the target, not decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path_and_query().0
    }

    /// The query of the target, without its `?`, not decoded.
    #[must_use]
    pub fn query(&self) -> &str {
        self.path_and_query().1
    }

    /// A body follows.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.body != Body::Length(0)
    }

    /// The client waits for permission to send its body. RFC 9110 section 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0
    /// request MUST ignore that expectation."
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.http11 && self.has_body() && self.headers.has_token("expect", "100-continue")
    }

    /// RFC 6455 section 4.2.1, items 3 and 4: `Upgrade` and `Connection` say that the connection is to become a WebSocket. RFC 9110 section 7.8:
    /// "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0 request."
    #[must_use]
    pub fn asks_for_websocket(&self) -> bool {
        self.http11 && self.headers.has_token("upgrade", "websocket") && self.headers.has_token("connection", "upgrade")
    }

    /// Both: [`Head::path`] and [`Head::query`]. RFC 9112 section 3.2: `/path?query`, or as to a proxy `http://host/path?query`, which a
    /// server must accept too.
    #[must_use]
    pub fn path_and_query(&self) -> (&str, &str) {
        let absolute = if self.target.starts_with('/') { None } else { self.target.split_once("://") };
        let target = match absolute {
            Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
                rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/")
            }
            _ => &self.target,
        };
        match target.split_once('?').unwrap_or((target, "")) {
            ("", query) => ("/", query),
            split => split,
        }
    }
}

/// Why a head is refused. The connection can't be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Too many headers.
    TooLarge,
    /// Against the grammar, or with an end on which not everyone would agree.
    Malformed,
    /// A body in a transfer coding other than chunks.
    TransferCoding,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    Version,
}

impl HeadError {
    /// The status code to answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            HeadError::TooLarge => 431,
            HeadError::Malformed => 400,
            HeadError::TransferCoding => 501,
            HeadError::Version => 505,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(reason(self.status()))
    }
}

impl std::error::Error for HeadError {}

/// Where the head ends, behind its empty line. `from` is how much of the buffer an earlier call has seen in vain, so
/// that a head that arrives byte by byte takes linear time.
#[must_use]
pub fn find_end(buffer: &[u8], from: usize) -> Option<usize> {
    // 2.2: "a server [...] SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
    let empty = match buffer {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => 0,
    };
    // A line feed that was seen may have had too little after it.
    let from = from.saturating_sub(2).max(empty);
    let mut rest = buffer.get(from..)?;
    while let Some(at) = memchr(b'\n', rest) {
        rest = rest.get(at.saturating_add(1)..)?;
        let line = match rest {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => continue,
        };
        return Some(buffer.len().saturating_sub(rest.len()).saturating_add(line));
    }
    None
}

/// Reads a head: what comes before the place that [`find_end`] gave.
///
/// # Errors
/// See [`HeadError`].
pub fn parse(head: &[u8], max_headers: usize) -> Result<Head, HeadError> {
    // 2.2: "a recipient MAY recognize a single LF as a line terminator". Not all do, so we don't.
    let is_bare = |at: usize| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r');
    let mut lines: usize = 0;
    for at in memchr_iter(b'\n', head) {
        if is_bare(at) {
            return Err(HeadError::Malformed);
        }
        lines = lines.saturating_add(1);
    }
    let mut headers = vec![EMPTY_HEADER; lines.min(max_headers)];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(size)) if size == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Malformed),
    }
    let headers = collect(request.headers);
    let http11 = request.version == Some(1);
    // 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a
    // Host header field and to any request message that contains more than one Host header field line".
    match headers.all("host").count() {
        1 => {}
        0 if !http11 => {}
        _ => return Err(HeadError::Malformed),
    }
    Ok(Head {
        method: match request.method {
            Some("GET") => Method::Get,
            Some("POST") => Method::Post,
            Some("HEAD") => Method::Head,
            Some("OPTIONS") => Method::Options,
            _ => Method::Other,
        },
        target: request.path.unwrap_or_default().into(),
        body: body(&headers, http11)?,
        http11,
        // 9.3.
        keep_alive: match http11 {
            true => !headers.has_token("connection", "close"),
            false => headers.has_token("connection", "keep-alive"),
        },
        headers,
    })
}

/// Reads the head of a response: status and headers, without those that concern one connection only or say how long the body is. `None`: it is
/// none, or has more than 100 headers.
#[must_use]
pub fn parse_answer(head: &[u8]) -> Option<(u16, Vec<Field>)> {
    let mut headers = [EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(Status::Complete(_)) = response.parse(head) else { return None };
    let status = response.code?;
    let ours = |name: &str| {
        let framing =
            ["content-length", "transfer-encoding", "keep-alive"].iter().any(|own| name.eq_ignore_ascii_case(own));
        framing || (status != 101 && name.eq_ignore_ascii_case("connection"))
    };
    let fields = response.headers.iter().filter(|header| !ours(header.name));
    let field = |header: &Header<'_>| -> Field {
        (header.name.to_owned().into(), String::from_utf8_lossy(header.value).into_owned().into())
    };
    Some((status, fields.map(field).collect()))
}

/// Copies the headers. What is not UTF-8 in a value is replaced, which is the exception: looked for once, in all of them.
fn collect(headers: &[Header<'_>]) -> Headers {
    let size =
        headers.iter().map(|header| header.name.len().saturating_add(1).saturating_add(header.value.len())).sum();
    let (mut text, mut ends) = (Vec::with_capacity(size), Vec::with_capacity(headers.len()));
    for header in headers {
        let name = text.len();
        text.extend_from_slice(header.name.as_bytes());
        text.get_mut(name..).unwrap_or_default().make_ascii_lowercase();
        text.push(b':');
        text.extend_from_slice(header.value);
        ends.push(end(text.len()));
    }
    match String::from_utf8(text) {
        Ok(text) => Headers { text: text.into(), ends: ends.into() },
        Err(_) => collect_lossy(headers),
    }
}

fn collect_lossy(headers: &[Header<'_>]) -> Headers {
    let (mut text, mut ends) = (String::new(), Vec::with_capacity(headers.len()));
    for header in headers {
        text.push_str(&header.name.to_ascii_lowercase());
        text.push(':');
        text.push_str(&String::from_utf8_lossy(header.value));
        ends.push(end(text.len()));
    }
    Headers { text: text.into(), ends: ends.into() }
}

/// No head comes near 4 GiB; what would stand beyond it is not found.
fn end(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// How the body ends, by RFC 9112 section 6.3.
fn body(headers: &Headers, http11: bool) -> Result<Body, HeadError> {
    let mut lengths = headers.all("content-length");
    let length = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        // "If a message is received without Transfer-Encoding and with an invalid Content-Length header field, then
        // the message framing is invalid". A list of equal numbers could be let pass; nobody sends one.
        (Some(value), None) if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
            Some(value.parse().unwrap_or(usize::MAX))
        }
        _ => return Err(HeadError::Malformed),
    };
    if headers.get("transfer-encoding").is_none() {
        return Ok(Body::Length(length.unwrap_or(0)));
    }
    let mut codings = headers.all("transfer-encoding").flat_map(|value| value.split(','));
    let first = codings.next().unwrap_or_default();
    // "Such a message might indicate an attempt to perform request smuggling"; and of a message of HTTP/1.0 with a Transfer-Encoding: "its
    // framing is faulty".
    if length.is_some() || !http11 {
        return Err(HeadError::Malformed);
    }
    let is_chunked = |coding: &str| coding.trim_matches([' ', '\t']).eq_ignore_ascii_case("chunked");
    match codings.last() {
        None if is_chunked(first) => Ok(Body::Chunked),
        // "If a Transfer-Encoding header field is present in a request and the chunked transfer coding is not the final encoding, the message
        // body length cannot be determined reliably; the server MUST respond with the 400".
        Some(last) if is_chunked(last) && !is_chunked(first) => Err(HeadError::TransferCoding),
        None | Some(_) => Err(HeadError::Malformed),
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, without `Content-Length` and `Connection`, which are added when it is written; only a 101 brings its own `Connection`.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// A response without headers and body.
    #[must_use]
    pub fn new(status: u16) -> Response {
        // Room for what most answers have.
        Response { status, headers: Vec::with_capacity(4), body: Bytes::new() }
    }

    /// Adds a header. Control characters in its value are dropped, so that no value can end its line; not looked for in what stands in the
    /// program itself.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        let mut value = value.into();
        if let Cow::Owned(value) = &mut value {
            value.retain(|c| !c.is_control());
        }
        self.headers.push((name, value));
        self
    }

    /// Adds headers, each as [`Response::header`] does.
    #[must_use]
    pub fn headers(self, headers: Vec<(&'static str, String)>) -> Response {
        headers.into_iter().fold(self, |response, (name, value)| response.header(name, value))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Response {
        self.body = body.into();
        self
    }

    /// Writes status line and headers with the empty line after them; the body is to follow. A 101 has its own
    /// `Connection` header; neither it nor a 204 or 304 says how long its missing body is (RFC 9110 section 8.6). `date` is the time as
    /// HTTP writes it: "An origin server with a clock MUST generate a Date header field" (section 6.6.1).
    pub fn write_head(&self, out: &mut Vec<u8>, keep_alive: bool, date: &str) {
        push(out, &["HTTP/1.1 ", itoa::Buffer::new().format(self.status), " ", reason(self.status)]);
        for (name, value) in &self.headers {
            push(out, &["\r\n", name, ": ", value]);
        }
        if self.status != 101 {
            push(out, &["\r\nDate: ", date]);
        }
        if !matches!(self.status, 101 | 204 | 304) {
            push(out, &["\r\nContent-Length: ", itoa::Buffer::new().format(self.body.len())]);
        }
        out.extend_from_slice(match (self.status, keep_alive) {
            (101, _) => b"\r\n\r\n",
            (_, true) => b"\r\nConnection: keep-alive\r\n\r\n",
            (_, false) => b"\r\nConnection: close\r\n\r\n",
        });
    }
}

fn push(out: &mut Vec<u8>, words: &[&str]) {
    words.iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
}

/// The words for a status code (RFC 9110 section 15).
fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
