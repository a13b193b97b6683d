//! Handlers that wait, without a runtime: tasks are polled by the test, and a gate says when one may go on.

use crate::codec::args::Args;
use crate::id::Task;
use crate::limits::Limits;
use crate::proto::handshake::Transport;
use crate::proto::session::Via;
use crate::server::client::events::Events;
use crate::server::client::handler::ConnectError;
use crate::server::tests::Bench;
use crate::server::{Options, lock};
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// A runtime in a test's hand: polls what was spawned, in turn, when it is told to.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<Task>>>);

impl Tasks {
    fn of(bench: &Bench) -> Tasks {
        let tasks = Tasks::default();
        let queue = tasks.0.clone();
        bench.server.set_spawner(Arc::new(move |task| lock(&queue).push(task)));
        tasks
    }

    /// Polls all of them, and what they spawn, a few times.
    fn poll(&self) {
        for _ in 0..4 {
            let tasks = std::mem::take(&mut *lock(&self.0));
            for mut task in tasks {
                if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    lock(&self.0).push(task);
                }
            }
        }
    }
}

/// Lets so many through.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicUsize>);

impl Gate {
    fn open(&self, n: usize) {
        self.0.fetch_add(n, Ordering::SeqCst);
    }

    async fn pass(&self) {
        poll_fn(|_| match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
            Ok(_) => Poll::Ready(()),
            Err(_) => Poll::Pending,
        })
        .await;
    }
}

/// What was heard, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: impl Into<String>) {
        lock(&self.0).push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.0))
    }
}

fn options(limits: Limits) -> Options {
    Options { recovery: None, limits, ..Options::default() }
}

/// `wait` passes the gate, `plain` does not; both note their argument and acknowledge it. Connecting and leaving pass gates of their own.
fn events(gates: &[Gate; 3], diary: &Diary) -> Events {
    let [joins, waits, leaves] = gates.clone();
    let (joined, waited, plain, left) = (diary.clone(), diary.clone(), diary.clone(), diary.clone());
    Events::new()
        .on_connect_async(move |_| {
            let (joins, joined) = (joins.clone(), joined.clone());
            async move {
                joins.pass().await;
                joined.note("connect");
            }
        })
        .on_async("wait", move |_, event| {
            let (waits, waited) = (waits.clone(), waited.clone());
            async move {
                waited.note(format!("begin {}", event.args.text()));
                waits.pass().await;
                waited.note(format!("end {}", event.args.text()));
                event.ack.into_iter().for_each(|ack| ack.send(event.args.clone()));
            }
        })
        .on("plain", move |_, event| {
            plain.note(format!("plain {}", event.args.text()));
            event.ack.into_iter().for_each(|ack| ack.send(event.args.clone()));
        })
        .on_disconnect_async(move |_, reason| {
            let (leaves, left) = (leaves.clone(), left.clone());
            async move {
                leaves.pass().await;
                left.note(reason.as_str());
            }
        })
}

/// Gates: connect, `wait`, disconnect.
fn bench(limits: Limits) -> (Bench, Tasks, [Gate; 3], Diary) {
    let bench = Bench::new(options(limits));
    let (tasks, gates, diary) = (Tasks::of(&bench), <[Gate; 3]>::default(), Diary::default());
    bench.server.of("/").handle(events(&gates, &diary));
    (bench, tasks, gates, diary)
}

#[test]
fn a_client_s_events_are_handled_one_after_the_other_and_its_leaving_last() {
    let (bench, tasks, [joins, waits, leaves], diary) = bench(Limits::default());
    let (mut line, _) = bench.join();
    for packet in [r#"421["wait",1]"#, r#"422["plain",2]"#, r#"423["wait",3]"#, r#"424["wait",4]"#] {
        line.send(bench.server.now(), packet);
    }
    tasks.poll();
    assert_eq!(diary.take(), [""; 0], "connect comes first");
    joins.open(1);
    tasks.poll();
    assert_eq!(diary.take(), ["connect", "begin 1"]);
    assert_eq!(bench.got(&mut line), [""; 0]);
    // Another client is not held up.
    joins.open(1);
    let (other, _) = bench.join();
    other.send(bench.server.now(), r#"42["plain",9]"#);
    tasks.poll();
    assert_eq!(diary.take(), ["connect", "plain 9"]);
    waits.open(1);
    tasks.poll();
    assert_eq!(diary.take(), ["end 1", "plain 2", "begin 3"]);
    assert_eq!(bench.got(&mut line), ["431[1]", "432[2]"]);
    line.close(bench.server.now());
    waits.open(2);
    tasks.poll();
    assert_eq!(diary.take(), ["end 3", "begin 4", "end 4"]);
    leaves.open(1);
    tasks.poll();
    assert_eq!(diary.take(), ["transport close"]);
    assert!(lock(&tasks.0).is_empty());
    // With nothing waiting an event is handled at once, and a future begins right behind it.
    other.send(bench.server.now(), r#"42["plain",5]"#);
    assert_eq!(diary.take(), ["plain 5"]);
}

#[test]
fn a_handler_may_wait_for_its_own_client() {
    let bench = Bench::new(options(Limits::default()));
    let (tasks, diary) = (Tasks::of(&bench), Diary::default());
    let notes = diary.clone();
    bench.server.of("/").handle(Events::new().on_async("ask", move |socket, _| {
        let (answers, notes) = (Arc::<Mutex<Option<Args>>>::default(), notes.clone());
        let heard = answers.clone();
        socket.emit_with_ack("name?", (), None, move |answer| *lock(&heard) = answer.ok()).unwrap();
        async move {
            let answer = poll_fn(|_| lock(&answers).take().map_or(Poll::Pending, Poll::Ready)).await;
            notes.note(answer.text());
        }
    }));
    let (mut line, _) = bench.join();
    for packet in [r#"42["ask"]"#, r#"42["ask"]"#] {
        line.send(bench.server.now(), packet);
    }
    tasks.poll();
    let asked = bench.got(&mut line);
    assert_eq!(asked.len(), 1, "the second waits for the first");
    let id: u64 =
        asked[0].strip_prefix("42").and_then(|rest| rest.strip_suffix(r#"["name?"]"#)).unwrap().parse().unwrap();
    line.send(bench.server.now(), &format!(r#"43{id}["Ada"]"#));
    tasks.poll();
    assert_eq!(
        (diary.take(), bench.got(&mut line)),
        (vec![r#""Ada""#.to_owned()], vec![format!(r#"42{}["name?"]"#, id + 1)])
    );
}

/// By number and by bytes: at the bound nothing more is read, half-way down it is read again, and nothing is lost.
#[test]
fn a_full_line_stops_the_reading() {
    let long = "x".repeat(400);
    for (limits, text, fits) in [
        (Limits { waiting_events: 10, ..Limits::default() }, "x", 10_usize),
        (Limits { waiting_event_bytes: 2_000, ..Limits::default() }, &*long, 5),
    ] {
        let (bench, tasks, [joins, waits, _], diary) = bench(limits);
        joins.open(1);
        let (line, _) = bench.join();
        tasks.poll();
        diary.take();
        for n in 0..=fits {
            assert!(line.connection.poll_reading(Via::WebSocket, Waker::noop()), "{n}");
            line.send(bench.server.now(), &format!(r#"42["wait",{n},"{text}"]"#));
            tasks.poll();
        }
        assert!(!line.connection.poll_reading(Via::WebSocket, Waker::noop()));
        assert_eq!(bench.server.metrics().readings_paused.get(), 1);
        // The first has begun and is not in the line.
        let half = fits.div_ceil(2);
        for n in 0..half {
            assert!(line.connection.is_full(), "{n}");
            waits.open(1);
            tasks.poll();
        }
        assert!(line.connection.poll_reading(Via::WebSocket, Waker::noop()));
        waits.open(fits + 1 - half);
        tasks.poll();
        let ends = diary.take().iter().filter(|line| line.starts_with("end")).count();
        assert_eq!((ends, lock(&tasks.0).len()), (fits + 1, 0));
    }
}

#[test]
fn heartbeats_go_on_while_a_handler_waits_and_while_nothing_is_read() {
    let (bench, tasks, [joins, waits, leaves], diary) = bench(Limits { waiting_events: 2, ..Limits::default() });
    joins.open(1);
    leaves.open(1);
    let (mut line, socket) = bench.join();
    line.send(bench.server.now(), r#"42["wait",1]"#);
    tasks.poll();
    // Read on: pongs count.
    for _ in 0..5 {
        bench.pass(25_000);
        assert_eq!(bench.got(&mut line), ["2"]);
        line.send(bench.server.now(), "3");
    }
    assert!(socket.connected());
    // Not read on: no pong can come, and none is missed.
    line.send(bench.server.now(), r#"42["wait",2]"#);
    line.send(bench.server.now(), r#"42["wait",3]"#);
    assert!(line.connection.is_full());
    (0..10).for_each(|_| bench.pass(19_000));
    assert!(socket.connected());
    waits.open(3);
    tasks.poll();
    assert!(!line.connection.is_full());
    // From now on the pong has its time.
    bench.pass(19_000);
    assert!(socket.connected());
    bench.pass(2_000);
    tasks.poll();
    assert!(!socket.connected());
    assert_eq!(diary.take().last().unwrap(), "ping timeout");
}

/// The runtime ends, or the future panics: its client comes back as after any cut.
#[test]
fn a_future_that_is_dropped_takes_its_connection_along() {
    let (bench, tasks, [joins, ..], diary) = bench(Limits { waiting_events: 1, ..Limits::default() });
    joins.open(1);
    let (line, socket) = bench.join();
    line.send(bench.server.now(), r#"42["wait",1]"#);
    line.send(bench.server.now(), r#"42["wait",2]"#);
    tasks.poll();
    assert!(line.connection.is_full());
    diary.take();
    let dropped = std::mem::take(&mut *lock(&tasks.0));
    drop(dropped);
    tasks.poll();
    assert!(!socket.connected() && !line.connection.is_full() && bench.server.of("/").is_empty());
    assert_eq!(diary.take(), [""; 0]);
}

#[test]
fn middlewares_may_wait() {
    let bench = Bench::plain();
    let (tasks, gate) = (Tasks::of(&bench), Gate::default());
    let opens = gate.clone();
    bench.server.of("/door").use_async(move |socket| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            if socket.auth().contains("bad") { Err(ConnectError::new("no")) } else { Ok(()) }
        }
    });
    let (mut bad, _) = bench.send(&[r#"40/door,{"bad":1}"#]);
    let (mut good, _) = bench.send(&["40/door,"]);
    tasks.poll();
    assert!(bench.server.of("/door").is_empty());
    opens.open(2);
    tasks.poll();
    assert_eq!(bench.got(&mut bad), [r#"44/door,{"message":"no"}"#]);
    assert!(bench.got(&mut good)[0].starts_with("40/door,"));
}

/// Any mix of handlers that wait and that don't, of clients that leave, and of the order in which tasks are polled.
#[test]
fn every_schedule_keeps_every_client_s_order() {
    for seed in 0..300_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = move |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % n as u64) as usize
        };
        let bench = Bench::new(options(Limits { waiting_events: 4, ..Limits::default() }));
        let (tasks, gate, diary) = (Tasks::of(&bench), Gate::default(), Diary::default());
        let (wait, plain, left, passes) = (diary.clone(), diary.clone(), diary.clone(), gate.clone());
        let told = |socket: &crate::server::client::socket::Socket, what: &str| format!("{} {what}", socket.id());
        bench.server.of("/").handle(
            Events::new()
                .on_async("wait", move |socket, event| {
                    let (wait, passes) = (wait.clone(), passes.clone());
                    async move {
                        wait.note(told(&socket, &format!("{} begins", event.args.text())));
                        passes.pass().await;
                        wait.note(told(&socket, event.args.text()));
                    }
                })
                .on("plain", move |socket, event| plain.note(told(socket, event.args.text())))
                .on_disconnect(move |socket, _| left.note(told(socket, "left"))),
        );
        let mut clients: Vec<_> = (0..3).map(|_| (bench.join(), 0, false)).collect();
        for _ in 0..100 {
            let i = below(clients.len());
            match below(10) {
                0..=4 => {
                    let ((line, _), sent, gone) = &mut clients[i];
                    if !*gone && line.connection.poll_reading(Via::WebSocket, Waker::noop()) {
                        let name = ["wait", "plain"][below(2)];
                        line.send(bench.server.now(), &format!(r#"42["{name}",{sent}]"#));
                        *sent += 1;
                    }
                }
                5 | 6 => gate.open(1),
                7 | 8 => tasks.poll(),
                _ if below(10) == 0 => {
                    clients[i].0.0.close(bench.server.now());
                    clients[i].2 = true;
                }
                _ => lock(&tasks.0).reverse(),
            }
        }
        gate.open(1_000);
        (0..20).for_each(|_| tasks.poll());
        let diary = diary.take();
        for ((line, socket), sent, gone) in &clients {
            let of_it = diary.iter().filter_map(|line| line.strip_prefix(&format!("{} ", socket.id())));
            let all: Vec<_> = of_it.collect();
            let done: Vec<_> =
                all.iter().filter(|line| !line.ends_with("begins")).map(|line| line.to_string()).collect();
            let want = (0..*sent).map(|n: usize| n.to_string()).chain(gone.then(|| "left".to_owned()));
            assert_eq!(done, want.collect::<Vec<_>>(), "seed {seed}");
            let begun = all.iter().enumerate().filter(|(_, line)| line.ends_with("begins"));
            for (at, line) in begun {
                assert_eq!(line.strip_suffix(" begins"), all.get(at + 1).copied(), "seed {seed}: one at a time");
            }
            assert!(!line.connection.is_full());
        }
    }
}

/// The same over long-polling, where a POST is what is not answered.
#[test]
fn a_client_on_polling_is_read_no_further_either() {
    let (bench, tasks, [joins, waits, _], _) = bench(Limits { waiting_events: 1, ..Limits::default() });
    joins.open(1);
    let mut line = bench.line(Transport::Polling);
    bench.got(&mut line);
    for packet in ["40", r#"42["wait",1]"#, r#"42["wait",2]"#] {
        line.send(bench.server.now(), packet);
        tasks.poll();
    }
    assert!(!line.connection.poll_reading(Via::Polling, Waker::noop()));
    waits.open(2);
    tasks.poll();
    assert!(line.connection.poll_reading(Via::Polling, Waker::noop()));
}
