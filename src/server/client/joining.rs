//! A client's CONNECT to a namespace: its session is claimed if it asks for one, the middlewares decide, and it is let in.

use crate::codec::socket_packet;
use crate::id::SocketId;
use crate::server::Server;
use crate::server::client::connection::Connection;
use crate::server::client::handler::{ConnectError, Next};
use crate::server::client::socket::Socket;
use crate::server::metrics::RefusedReturn;
use crate::server::namespace::Namespace;
use crate::server::notice::Notice;
use crate::server::recovery::record::{Refused, Request};
use crate::server::recovery::restore::Claimed;
use std::sync::Arc;

/// How often a session is claimed for a client before it is told that it is new: a claim that a dead connection has left behind may come
/// later than the one that counts.
const CLAIMS: usize = 3;

impl Server {
    pub(crate) fn connect(&self, connection: &Arc<Connection>, nsp: &str, auth: Option<&str>) {
        let limits = &self.options().limits;
        let refuse = |message: &str| connection.refuse(nsp, socket_packet::connect_error(nsp, message, None));
        if nsp.len() > limits.name_bytes {
            return refuse("Namespace name too long");
        }
        if auth.is_some_and(|auth| auth.len() > limits.auth_bytes) {
            return refuse("auth too large");
        }
        if connection.namespaces() > limits.namespaces_per_client {
            return refuse("Too many namespaces");
        }
        match self.resolve(nsp) {
            Some(namespace) => self.seek(connection, namespace, auth.unwrap_or("{}"), CLAIMS),
            None => refuse("Invalid namespace"),
        }
    }

    /// Claims the session that the client asks for, and goes on with it or without. Gives the namespace back, which `resolve` has held.
    fn seek(&self, connection: &Arc<Connection>, namespace: Arc<Namespace>, auth: &str, tries: usize) {
        let Some(request) = self.options().recovery.as_ref().and_then(|_| Request::from_auth(auth)) else {
            self.join(connection, &namespace, auth, None, tries);
            return self.release(&namespace);
        };
        let (server, taker, auth, seeking) = (self.clone(), connection.clone(), auth.to_owned(), namespace.clone());
        let then = move |claimed: Result<Claimed, Refused>| {
            let claimed = match claimed {
                Ok(mut claimed) => {
                    claimed.drop_evicted(&taker, server.now());
                    Some(claimed)
                }
                Err(Refused::Contested) if tries > 1 => return server.seek(&taker, seeking, &auth, tries - 1),
                Err(reason) => {
                    server.count_refused(&taker, &seeking, None, reason);
                    None
                }
            };
            server.join(&taker, &seeking, &auth, claimed, tries);
            server.release(&seeking);
        };
        namespace.claim(request, Box::new(then));
    }

    fn join(
        &self,
        connection: &Arc<Connection>,
        namespace: &Arc<Namespace>,
        auth: &str,
        claimed: Option<Claimed>,
        tries: usize,
    ) {
        let socket = Socket::new(connection, namespace, auth, claimed.as_ref().map(|claimed| &claimed.record));
        let skip = self.options().recovery.as_ref().is_some_and(|recovery| recovery.skip_middlewares);
        match claimed.is_some() && skip {
            true => self.admit(&socket, claimed, tries),
            false => self.ask(socket, claimed, tries, 0),
        }
    }

    /// Asks the middlewares from `index` on, one after the other.
    fn ask(&self, socket: Socket, claimed: Option<Claimed>, tries: usize, index: usize) {
        let Some(middleware) = socket.namespace().middleware(index) else {
            return self.admit(&socket, claimed, tries);
        };
        let (server, asked) = (self.clone(), socket.clone());
        let decide = move |verdict: Result<(), ConnectError>| match verdict {
            Ok(()) => server.ask(asked, claimed, tries, index + 1),
            Err(error) => {
                let nsp = asked.nsp_name().as_str();
                let data = error.data.as_ref().and_then(|data| serde_json::value::to_raw_value(data).ok());
                let packet = socket_packet::connect_error(nsp, &error.message, data.as_deref());
                asked.connection().refuse(nsp, packet);
            }
        };
        middleware(&socket, Next::new(Box::new(decide)));
    }

    fn admit(&self, socket: &Socket, claimed: Option<Claimed>, tries: usize) {
        let (server, joining) = (self.clone(), socket.clone());
        let done = Box::new(move |admitted| match admitted {
            Ok(true) => {
                if joining.recovered() {
                    server.metrics().recoveries_granted.one();
                    server.metrics().replay.add(server.now().since(joining.joined()));
                    server.log(&Notice::Recovered { id: joining.id().clone() });
                }
                joining.announce();
            }
            // The client is gone; its session can be claimed again.
            Ok(false) => {}
            Err(Refused::Contested) if tries > 1 => {
                server.retain(joining.namespace());
                server.seek(joining.connection(), joining.namespace().clone(), joining.auth(), tries - 1);
            }
            Err(reason) => {
                server.count_refused(joining.connection(), joining.namespace(), Some(joining.id()), reason);
                server.join(joining.connection(), joining.namespace(), joining.auth(), None, tries);
            }
        });
        socket.namespace().admit(socket, claimed, done);
    }

    fn count_refused(&self, connection: &Connection, namespace: &Namespace, id: Option<&SocketId>, reason: Refused) {
        let nsp = namespace.name();
        self.metrics().refuse_return(RefusedReturn {
            at: self.now(),
            nsp: nsp.clone(),
            id: id.cloned(),
            address: connection.handshake.address.clone(),
            reason,
        });
        self.log(&Notice::ReturnedAsNew { namespace: nsp.clone(), reason });
    }
}
