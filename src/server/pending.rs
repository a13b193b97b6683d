//! What is waited for, as a future: the answer of a client, or of all servers.

use super::lock;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

/// An answer that is on its way. What was asked has been sent already; dropped, it is forgotten that anybody waits.
///
/// It ends by itself when the time given is over, whatever polls it.
#[must_use = "nothing is heard of an answer that is not awaited"]
pub struct Pending<T> {
    slot: Arc<Mutex<Slot<T>>>,
    forget: Option<Box<dyn FnOnce() + Send>>,
}

impl<T: Send + 'static> Pending<T> {
    /// With what takes the answer.
    pub(crate) fn new() -> (Pending<T>, impl FnOnce(T) + Send + 'static) {
        let slot = Arc::new(Mutex::new(Slot { value: None, waker: None }));
        let answered = slot.clone();
        let answer = move |value| {
            let mut slot = lock(&answered);
            slot.value = Some(value);
            let waker = slot.waker.take();
            drop(slot);
            waker.into_iter().for_each(Waker::wake);
        };
        (Pending { slot, forget: None }, answer)
    }

    /// One that is over before it has begun.
    pub(crate) fn ready(value: T) -> Pending<T> {
        Pending { slot: Arc::new(Mutex::new(Slot { value: Some(value), waker: None })), forget: None }
    }

    /// What gives the bookkeeping back if nobody waits any more.
    pub(crate) fn or_forget(mut self, forget: impl FnOnce() + Send + 'static) -> Pending<T> {
        self.forget = Some(Box::new(forget));
        self
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = lock(&self.slot);
        let Some(value) = slot.value.take() else {
            slot.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        drop(slot);
        self.forget = None;
        Poll::Ready(value)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Some(forget) = self.forget.take() {
            forget();
        }
    }
}
