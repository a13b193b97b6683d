//! Live objects that an application keeps with a client, by their type: what is no JSON, and need not survive the connection.

use crate::server::lock;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

type Objects = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// One object of each type. It goes with the socket: after a recovery it is empty again, where [`data`](crate::Socket::data) is kept.
///
/// ```
/// use rill::{Events, Options, Server};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// #[derive(Default)]
/// struct Said(AtomicU32);
///
/// let server = Server::in_memory(Options::default());
/// server.of("/").handle(Events::new().before(|socket, _event| {
///     // At most a hundred events of one client.
///     socket.extensions().get_or_insert_with(Said::default).0.fetch_add(1, Ordering::Relaxed) < 100
/// }));
/// ```
#[derive(Default)]
pub struct Extensions(Mutex<Option<Box<Objects>>>);

impl Extensions {
    /// Puts an object in, in place of another of its type.
    pub fn insert<T: Send + Sync + 'static>(&self, object: T) -> Arc<T> {
        let object = Arc::new(object);
        // Dropped with the lock released.
        let _former = lock(&self.0).get_or_insert_default().insert(TypeId::of::<T>(), object.clone());
        object
    }

    /// The object of this type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        lock(&self.0).as_ref()?.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }

    /// The object of this type, made if it is not there.
    pub fn get_or_insert_with<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        if let Some(object) = self.get() {
            return object;
        }
        let object = Arc::new(make());
        let mut objects = lock(&self.0);
        let kept = objects.get_or_insert_default().entry(TypeId::of::<T>()).or_insert_with(|| object.clone()).clone();
        drop(objects);
        kept.downcast().unwrap_or(object)
    }

    /// Takes the object of this type out.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let object = lock(&self.0).as_mut()?.remove(&TypeId::of::<T>())?;
        object.downcast().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_of_each_type() {
        let extensions = Extensions::default();
        assert!(extensions.get::<u8>().is_none() && extensions.remove::<u8>().is_none());
        extensions.insert(1_u8);
        extensions.insert("text");
        assert_eq!(*extensions.get_or_insert_with(|| 2_u8), 1);
        assert_eq!(*extensions.get_or_insert_with(|| 3_u16), 3);
        extensions.insert(4_u8);
        assert_eq!((*extensions.get::<u8>().unwrap(), *extensions.get::<&str>().unwrap()), (4, "text"));
        assert_eq!(*extensions.remove::<u8>().unwrap(), 4);
        assert!(extensions.get::<u8>().is_none());
    }
}
