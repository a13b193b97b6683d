//! What is kept of the HTTP request that opened a session: the official handshake object, in compact form.

use crate::codec::http::Headers;
use crate::codec::query::Query;
use crate::id::Time;
use crate::server::client::door::Site;
use serde_json::{Map, Value, json};
use std::net::Ipv4Addr;

/// The request that opened a session.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Its headers, names in lower case.
    pub headers: Headers,
    /// Its path and query, as sent.
    pub url: Box<str>,
    /// The address of the peer.
    pub address: Box<str>,
}

impl Handshake {
    /// Who answers for the session, where the number of those is bounded.
    pub(crate) fn site(&self) -> Site {
        Site::of(self.address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED.into()))
    }

    /// The decoded query.
    #[must_use]
    pub fn query(&self) -> Query<'_> {
        Query::parse(self.url.split_once('?').map_or("", |(_, query)| query))
    }

    /// The official object: `headers, time, address, xdomain, secure, issued, url, query, auth`; `joined` is when the namespace was joined.
    #[must_use]
    pub fn to_value(&self, auth: &str, joined: Time) -> Value {
        let text = |(key, value): (&str, &str)| (key.to_owned(), json!(value));
        let query: Map<String, Value> = self.query().iter().map(text).collect();
        json!({
            "headers": headers_value(&self.headers),
            "time": joined.human(),
            "address": &*self.address,
            "xdomain": self.headers.get("origin").is_some(),
            "secure": false,
            "issued": joined.0,
            "url": &*self.url,
            "query": query,
            "auth": serde_json::from_str(auth).unwrap_or_else(|_| json!({})),
        })
    }
}

/// Headers as an object; repeated ones are joined by a comma, cookies by a semicolon, as Node does.
#[must_use]
pub fn headers_value(headers: &Headers) -> Value {
    let mut object = Map::new();
    for (name, value) in headers.iter() {
        let separator = if name == "cookie" { "; " } else { ", " };
        let joined = match object.get(name) {
            Some(Value::String(first)) => format!("{first}{separator}{value}"),
            _ => value.to_owned(),
        };
        object.insert(name.to_owned(), json!(joined));
    }
    Value::Object(object)
}
