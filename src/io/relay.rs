//! Wakes many tasks of a thread together, and not all at once.
//!
//! A broadcast wakes thousands of tasks while the namespace waits. Each waking from another thread costs a system call, and a runtime runs its
//! tasks in the order in which they were woken: whatever comes later waits for all of them. So they are put into a list of their thread. It is
//! told once, and wakes some at a time: the oldest, and the newest, so that a small room does not wait behind a large one.

use super::workers;
use crate::server::lock;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use tokio::runtime::{Handle, Id, RuntimeFlavor};

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

/// The list of one thread's runtime.
struct Relay {
    runtime: Id,
    list: Mutex<List>,
}

impl Relay {
    /// The list of this thread; `runtime` runs tasks on no other. A thread may have had another runtime before.
    fn of_this_thread(runtime: &Handle) -> Arc<Relay> {
        HERE.with_borrow_mut(|here| {
            let known = here.take().filter(|relay| relay.runtime == runtime.id() && !lock(&relay.list).ended);
            here.insert(known.unwrap_or_else(|| Relay::begin(runtime))).clone()
        })
    }

    fn begin(runtime: &Handle) -> Arc<Relay> {
        let relay = Arc::new(Relay { runtime: runtime.id(), list: Mutex::default() });
        runtime.spawn(Carrier(relay.clone()).run());
        relay
    }

    /// False: nobody would see to it.
    fn add(&self, task: &Waker) -> bool {
        let mut list = lock(&self.list);
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

/// The task that wakes what stands in the list. When its runtime goes, it is dropped, and the list takes nothing any more.
struct Carrier(Arc<Relay>);

impl Carrier {
    async fn run(self) {
        poll_fn(|cx| {
            let mut list = lock(&self.0.list);
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
            // The next portion comes after the tasks that have just been woken.
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
        let mut list = lock(&self.0.list);
        list.ended = true;
        let waiting = std::mem::take(&mut list.waiting);
        drop(list);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A task's waker that goes by the list.
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

/// A waker for the task that runs, whose own is `task`: it wakes it together with others. In a runtime whose tasks move between threads it is
/// `task` itself.
pub(super) fn relayed(task: &Waker) -> Waker {
    match workers::here() {
        Some(runtime) if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread => {
            Waker::from(Arc::new(Relayed { task: task.clone(), relay: Relay::of_this_thread(&runtime) }))
        }
        Some(_) | None => task.clone(),
    }
}

/// How many tasks of this thread are none of an application's: the one that wakes others, if there is any. It is there afterwards.
pub(super) fn carriers() -> usize {
    match workers::here() {
        Some(runtime) if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread => {
            Relay::of_this_thread(&runtime);
            1
        }
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use tokio::runtime::{Builder, Runtime};

    /// Writes down its number when it is woken.
    struct Sleeper(usize, Arc<Mutex<Vec<usize>>>);

    impl Wake for Sleeper {
        fn wake(self: Arc<Sleeper>) {
            lock(&self.1).push(self.0);
        }
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    fn sleepers(runtime: &Runtime, count: usize, woken: &Arc<Mutex<Vec<usize>>>) -> Vec<Waker> {
        runtime.block_on(async {
            (0..count).map(|number| relayed(&Waker::from(Arc::new(Sleeper(number, woken.clone()))))).collect()
        })
    }

    fn run_until_woken(runtime: &Runtime, count: usize, woken: &Arc<Mutex<Vec<usize>>>) {
        runtime.block_on(async {
            while lock(woken).len() < count {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn a_crowd_is_woken_from_both_ends() {
        let (runtime, woken) = (runtime(), Arc::default());
        let crowd = sleepers(&runtime, 1000, &woken);
        thread::spawn(move || crowd.into_iter().for_each(Waker::wake)).join().unwrap();
        assert!(lock(&woken).is_empty());
        run_until_woken(&runtime, 1000, &woken);
        let order = lock(&woken).clone();
        assert_eq!(order[..4], [0, 999, 1, 998]);
        assert!((0..1000).all(|number| order.contains(&number)), "{order:?}");
    }

    #[test]
    fn two_runtimes_of_a_thread_have_a_list_each() {
        let (first, second, woken) = (runtime(), runtime(), Arc::default());
        let kept = sleepers(&first, 1, &Arc::default());
        sleepers(&second, 5, &woken).into_iter().for_each(Waker::wake);
        run_until_woken(&second, 5, &woken);
        drop(kept);
    }

    #[test]
    fn without_its_runtime_it_wakes_directly() {
        let (runtime, woken) = (runtime(), Arc::default());
        let mut tasks = sleepers(&runtime, 2, &woken);
        tasks.pop().unwrap().wake();
        drop(runtime);
        assert_eq!(*lock(&woken), [1], "what stood in the list is not forgotten");
        tasks.pop().unwrap().wake();
        assert_eq!(*lock(&woken), [1, 0]);
    }
}
