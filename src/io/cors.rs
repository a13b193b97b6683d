//! Cross-origin requests: which headers an answer gets, and who is refused. <https://fetch.spec.whatwg.org/#http-cors-protocol>
//!
//! Browsers don't apply CORS to WebSockets: with a list of origins the server itself refuses others (cross-site WebSocket hijacking).

use crate::codec::http::{Head, Response};
use crate::codec::origin::Origin;
use crate::server::Cors;

/// Adds the headers that let a page of the request's origin read the answer.
pub(super) fn allow(cors: &Cors, head: &Head, response: Response) -> Response {
    match cors {
        Cors::Off => response,
        Cors::Any => response.header("Access-Control-Allow-Origin", "*"),
        Cors::Origins(origins) => match head.headers.get("origin").filter(|origin| listed(origins, origin)) {
            Some(origin) => response
                .header("Access-Control-Allow-Origin", origin.to_owned())
                .header("Access-Control-Allow-Credentials", "true")
                .header("Vary", "Origin"),
            None => response.header("Vary", "Origin"),
        },
    }
}

/// The answer to a preflight request.
pub(super) fn preflight(head: &Head) -> Response {
    let response = Response::new(204).header("Access-Control-Allow-Methods", "GET,HEAD,PUT,PATCH,POST,DELETE");
    match head.headers.get("access-control-request-headers") {
        Some(wanted) => response.header("Access-Control-Allow-Headers", wanted.to_owned()),
        None => response,
    }
}

/// Whether a request may open a session: without a list, all may; with one, those who come from a listed origin, from the server's own, or
/// from no browser at all. `trusted`: it comes from a proxy that is believed.
pub(super) fn permits(cors: &Cors, head: &Head, trusted: bool) -> bool {
    match (cors, head.headers.get("origin")) {
        (Cors::Off | Cors::Any, _) | (Cors::Origins(_), None) => true,
        (Cors::Origins(origins), Some(origin)) => {
            let is_own = || Origin::parse(origin).is_some_and(|origin| origin.is_of_server(&head.headers, trusted));
            listed(origins, origin) || is_own()
        }
    }
}

fn listed(origins: &[String], origin: &str) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    origins.iter().filter_map(|listed| Origin::parse(listed)).any(|listed| listed.covers(&origin))
}
