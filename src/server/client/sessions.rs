//! The table of Engine.IO sessions, in sixteen parts so that requests don't wait for each other.

use crate::id::Sid;
use crate::server::client::connection::Connection;
use crate::server::lock;
use crate::server::namespace::hash::Keyed;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Part = Mutex<HashMap<Sid, Arc<Connection>, Keyed>>;

/// All sessions by their id.
#[derive(Default)]
pub(crate) struct Sessions {
    parts: [Part; 16],
    count: AtomicUsize,
}

impl Sessions {
    /// Ids are random text, so that any of their bytes spreads them evenly.
    fn part(&self, sid: &str) -> &Part {
        let index = usize::from(sid.bytes().last().unwrap_or(0)) % self.parts.len();
        self.parts.get(index).unwrap_or(&self.parts[0])
    }

    pub(crate) fn insert(&self, connection: Arc<Connection>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        lock(self.part(connection.sid.as_str())).insert(connection.sid.clone(), connection);
    }

    pub(crate) fn get(&self, sid: &str) -> Option<Arc<Connection>> {
        lock(self.part(sid)).get(sid).cloned()
    }

    pub(crate) fn remove(&self, sid: &Sid) {
        let mut part = lock(self.part(sid.as_str()));
        let removed = part.remove(sid);
        if part.capacity() > 256 && part.len() * 8 < part.capacity() {
            part.shrink_to_fit();
        }
        drop(part);
        if removed.is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.parts.iter().flat_map(|part| lock(part).values().cloned().collect::<Vec<_>>()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
