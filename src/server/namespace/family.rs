//! Namespaces that a rule makes when clients ask for their names.

use crate::server::client::handler::{ConnectError, Handler, Middleware, Next};
use crate::server::client::socket::Socket;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// Namespaces whose names a rule accepts. Each is made for its first client, with the handler and the middlewares that the family has then, and
/// goes with its last.
pub struct Family {
    rule: Box<dyn Fn(&str) -> bool + Send + Sync>,
    handler: Arc<dyn Handler>,
    middlewares: RwLock<Vec<Middleware>>,
}

impl Family {
    pub(crate) fn new(rule: Box<dyn Fn(&str) -> bool + Send + Sync>, handler: Arc<dyn Handler>) -> Family {
        Family { rule, handler, middlewares: RwLock::default() }
    }

    pub(crate) fn accepts(&self, name: &str) -> bool {
        (self.rule)(name)
    }

    pub(crate) fn handler(&self) -> Arc<dyn Handler> {
        self.handler.clone()
    }

    pub(crate) fn middlewares(&self) -> Vec<Middleware> {
        self.middlewares.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, middleware: Middleware) {
        self.middlewares.write().unwrap_or_else(PoisonError::into_inner).push(middleware);
    }

    /// Adds a middleware to the namespaces that are made from now on; see [`Namespace::use_middleware`](crate::Namespace::use_middleware).
    ///
    /// ```
    /// use rill::{ConnectError, Events, Options, Server};
    ///
    /// let server = Server::in_memory(Options::default());
    /// let rooms = server.of_rule(|name| name.starts_with("/room-"), Events::new());
    /// rooms.use_middleware(|socket, next| match socket.auth().contains("token") {
    ///     true => next.accept(),
    ///     false => next.refuse(ConnectError::new(&format!("no token for {}", socket.namespace().name()))),
    /// });
    /// ```
    pub fn use_middleware(&self, middleware: impl Fn(&Socket, Next) + Send + Sync + 'static) {
        self.add(Arc::new(middleware));
    }

    /// As [`use_middleware`](Family::use_middleware), for one that has to wait; see [`Namespace::use_async`](crate::Namespace::use_async).
    pub fn use_async<F: Future<Output = Result<(), ConnectError>> + Send + 'static>(
        &self,
        middleware: impl Fn(Socket) -> F + Send + Sync + 'static,
    ) {
        self.add(waiting(middleware));
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").finish_non_exhaustive()
    }
}

/// A middleware whose future decides.
pub(super) fn waiting<F: Future<Output = Result<(), ConnectError>> + Send + 'static>(
    middleware: impl Fn(Socket) -> F + Send + Sync + 'static,
) -> Middleware {
    Arc::new(move |socket, next| {
        let decision = middleware(socket.clone());
        socket.connection().server().core().spawn(Box::pin(async move { next.decide_as(decision.await) }));
    })
}
