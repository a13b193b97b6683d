//! Wakes many tasks of a thread together, and not all at once.
//!
//! A broadcast wakes thousands of tasks while the namespace waits. A runtime hears of each that another thread wakes by a system call, and runs
//! them in the order in which they were woken: whatever comes later waits for all of them. So they are put into a list of their thread, which
//! is told once, and wakes some at a time: the oldest, and the newest, so that a small room does not wait behind a large one.

use crate::server::lock;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Tasks that are woken at once from each end of the list.
const PORTION: usize = 32;

thread_local! {
    static HERE: RefCell<Option<Arc<Relay>>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct List {
    waiting: VecDeque<Waker>,
    /// Who wakes them, if it sleeps.
    carrier: Option<Waker>,
    /// The thread's runtime has gone.
    ended: bool,
}

/// The list of one thread.
#[derive(Default)]
struct Relay(Mutex<List>);

impl Relay {
    /// The list of this thread; its runtime runs tasks on no other.
    fn of_this_thread() -> Arc<Relay> {
        HERE.with_borrow_mut(|here| {
            let known = here.take().filter(|relay| !lock(&relay.0).ended);
            here.insert(known.unwrap_or_else(Relay::begin)).clone()
        })
    }

    fn begin() -> Arc<Relay> {
        let relay = Arc::new(Relay::default());
        tokio::spawn(Carrier(relay.clone()).run());
        relay
    }

    /// False: nobody would see to it.
    fn add(&self, task: &Waker) -> bool {
        let mut list = lock(&self.0);
        if list.ended {
            return false;
        }
        list.waiting.push_back(task.clone());
        let carrier = list.carrier.take();
        drop(list);
        carrier.into_iter().for_each(Waker::wake);
        true
    }
}

/// Wakes what stands in the list; when its runtime goes, nothing is put there any more.
struct Carrier(Arc<Relay>);

impl Carrier {
    async fn run(self) {
        poll_fn(|cx| {
            let mut list = lock(&self.0.0);
            let mut portion = Vec::with_capacity(list.waiting.len().min(2 * PORTION));
            for _ in 0..PORTION {
                portion.extend(list.waiting.pop_front());
                portion.extend(list.waiting.pop_back());
            }
            let more = !list.waiting.is_empty();
            if !more {
                list.waiting.shrink_to(2 * PORTION);
                list.carrier = Some(cx.waker().clone());
            }
            drop(list);
            portion.into_iter().for_each(Waker::wake);
            // After those that have just been woken.
            if more {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })
        .await;
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let mut list = lock(&self.0.0);
        list.ended = true;
        let waiting = std::mem::take(&mut list.waiting);
        drop(list);
        waiting.into_iter().for_each(Waker::wake);
    }
}

struct Relayed {
    task: Waker,
    relay: Arc<Relay>,
}

impl Wake for Relayed {
    fn wake(self: Arc<Relayed>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Relayed>) {
        if !self.relay.add(&self.task) {
            self.task.wake_by_ref();
        }
    }
}

/// Wakes the task that runs, as `task` does, together with others. Where tasks move between threads it is `task` itself.
pub(super) fn relayed(task: &Waker) -> Waker {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::CurrentThread) => {
            Waker::from(Arc::new(Relayed { task: task.clone(), relay: Relay::of_this_thread() }))
        }
        Ok(_) | Err(_) => task.clone(),
    }
}
