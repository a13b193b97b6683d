//! The walk of a CONNECT as a table: what comes in on the left, what must come out on the right. No server, no log.

use super::*;
use crate::id::{Nsp, Pid, SocketId};
use crate::server::log::entry::{Entry as LogEntry, Posted};
use serde_json::Value;
use std::sync::Arc;

const RULES: Rules =
    Rules { skip_middlewares: true, needs_offset: false, bounds: Bounds { bytes: 1_000, entries: 100 } };
static NO_DOUBLES: BTreeSet<Offset> = BTreeSet::new();

fn at(ms: u64) -> Offset {
    Offset { ms, seq: 0 }
}

/// A session since 10 whose client has proved to have 20, its rooms having been the same from 10 to 30.
fn session() -> Box<Session> {
    let record = Record {
        nsp: Nsp::new("/"),
        sid: SocketId::from_record("sid"),
        pid: Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap(),
        claim: Offset::ZERO,
        since: at(10),
        position: at(20),
        stale: None,
        doubtful: None,
        taken: 0,
        away: true,
        rooms: Vec::new(),
        rooms_since: at(10),
        rooms_until: at(30),
        base: None,
        data: Arc::new(Value::Null),
    };
    Box::new(Session { record, claim: at(90), taken: 0 })
}

fn request(offset: Option<u64>) -> Request {
    Request { pid: Pid::from_wire("AAAAAAAAAAAAAAAAAAAA"), offset: offset.map(at) }
}

fn view(position: u64) -> Input<'static> {
    let held = Some(at(90));
    Input::View(View { position: Some(at(position)), whole_from: Offset::ZERO, held, doubles: &NO_DOUBLES })
}

fn page(from: u64, to: u64) -> Input<'static> {
    let item = |ms| (at(ms), Arc::new(Posted { uid: "a".into(), seq: 0, entry: LogEntry::Wake }));
    Input::Page(Some((from + 1..=to).map(item).collect()), at(to))
}

/// What is done, in short.
fn short(output: &Output) -> String {
    match output {
        Output::Claim => "claim".into(),
        Output::Ask(session) => format!("ask {}", if session.is_some() { "old" } else { "new" }),
        Output::Restore(_) => "restore".into(),
        Output::Anew(refused) => format!("anew {}", refused.name()),
        Output::Find(id) => format!("find {}", id.ms),
        Output::Wait(id) => format!("wait {}", id.ms),
        Output::Look => "look".into(),
        Output::Commands(from, to) => format!("commands {} {}", from.ms, to.ms),
        Output::Read(from) => format!("read {}", from.ms),
        Output::Rest => "rest".into(),
        Output::Enter(entry) => format!("enter from {}", entry.start.ms),
        Output::EnterNew(New { stale, doubtful }) => {
            format!("new stale {:?} doubtful {:?}", stale.map(|offset| offset.ms), doubtful.map(|offset| offset.ms))
        }
        Output::End => "end".into(),
    }
}

fn walk(rules: Rules, request: &Request, steps: Vec<(Input<'_>, &str)>) {
    let (mut returning, mut output) = Returning::begin(rules, request);
    for (n, (input, want)) in steps.into_iter().enumerate() {
        let said = format!("step {n}: {input:?} after {}", short(&output));
        output = returning.handle(input);
        assert_eq!(short(&output), want, "{said}");
    }
}

fn granted() -> Input<'static> {
    Input::Claimed(Ok(session()))
}

#[test]
fn a_client_without_a_session_is_asked_and_let_in() {
    let steps = || {
        vec![
            (Input::Verdict(true), "wait 0"),
            (Input::Reached, "look"),
            (view(50), "new stale None doubtful None"),
            (Input::Entered, "end"),
        ]
    };
    walk(RULES, &Request::default(), steps());
    walk(RULES, &Request::default(), vec![(Input::Verdict(false), "end")]);
    // The log was lost in between.
    let closed = Input::View(View { position: None, whole_from: Offset::ZERO, held: None, doubles: &NO_DOUBLES });
    walk(
        RULES,
        &Request::default(),
        vec![
            (Input::Verdict(true), "wait 0"),
            (Input::Reached, "look"),
            (closed, "wait 0"),
            (Input::Reached, "look"),
            (view(50), "new stale None doubtful None"),
        ],
    );
}

/// An offset that is not of the session that begins must never pass for one of it.
#[test]
fn what_a_new_session_remembers_of_its_clients_offset() {
    let begun =
        || vec![(Input::Claimed(Err(Refused::UnknownSession)), "anew unknown_session"), (Input::Rested, "ask new")];
    for (offset, found, last) in [
        (Some(40), None, "new stale None doubtful None"),
        (Some(50), None, "new stale None doubtful None"),
        (Some(51), Some(Some(false)), "new stale Some(51) doubtful None"),
        (Some(51), Some(None), "new stale None doubtful Some(51)"),
    ] {
        let mut steps = begun();
        steps.extend([(Input::Verdict(true), "wait 0"), (Input::Reached, "look")]);
        match found {
            None => steps.push((view(50), last)),
            Some(found) => {
                steps.push((view(50), "find 51"));
                steps.extend([(Input::Found(found), "look"), (view(52), last)]);
            }
        }
        walk(RULES, &request(offset), steps);
    }
    // It is an entry that this server has not read yet: the session begins behind it.
    let mut steps = begun();
    steps.extend([(Input::Verdict(true), "wait 0"), (Input::Reached, "look"), (view(50), "find 60")]);
    steps.extend([(Input::Found(Some(true)), "wait 60"), (Input::Reached, "look")]);
    steps.push((view(61), "new stale None doubtful None"));
    walk(RULES, &request(Some(60)), steps);
}

#[test]
fn a_session_is_given_back_from_what_is_proved() {
    for (offset, start) in [(None, 20), (Some(5), 20), (Some(15), 20), (Some(20), 20), (Some(25), 25), (Some(30), 30)] {
        let find = format!("find {start}");
        let (wait, read) = (format!("wait {start}"), format!("read {start}"));
        let enter = format!("enter from {start}");
        walk(
            RULES,
            &request(offset),
            vec![
                (granted(), "restore"),
                (Input::Rested, &find),
                (Input::Found(Some(true)), &wait),
                (Input::Reached, "look"),
                (view(40), &read),
                (page(start, 40), "look"),
                // Something came meanwhile.
                (view(41), "read 40"),
                (page(40, 41), "look"),
                (view(41), &enter),
                (Input::Entered, "end"),
            ],
        );
    }
}

#[test]
fn rooms_that_changed_after_the_start_are_told_from_further_back() {
    let changed = |until| {
        let mut session = session();
        session.record.rooms_since = at(30);
        session.record.rooms_until = at(until);
        session.record.base = Some(Vec::new());
        Input::Claimed(Ok(session))
    };
    // The start lies before the change, and the rooms of the position are known.
    let steps = |commands| {
        vec![
            (changed(35), "restore"),
            (Input::Rested, "find 25"),
            (Input::Found(Some(true)), "find 20"),
            (Input::Found(Some(true)), "wait 25"),
            (Input::Reached, "look"),
            (view(40), "commands 20 25"),
            (Input::Commands(commands), "look"),
        ]
    };
    let mut remembered = steps(Some(Vec::new()));
    remembered.extend([(view(40), "read 25"), (page(25, 40), "look"), (view(40), "enter from 25")]);
    walk(RULES, &request(Some(25)), remembered);
    let mut forgotten = steps(None);
    if let Some(last) = forgotten.last_mut() {
        last.1 = "read 20";
    }
    forgotten.extend([(page(20, 40), "look"), (view(40), "enter from 25")]);
    walk(RULES, &request(Some(25)), forgotten);
    // Behind what the record knows.
    walk(
        RULES,
        &request(Some(38)),
        vec![
            (changed(35), "restore"),
            (Input::Rested, "find 38"),
            (Input::Found(Some(true)), "find 35"),
            (Input::Found(Some(true)), "wait 38"),
        ],
    );
}

/// Whatever can't be proved to be complete is refused.
#[test]
fn what_is_no_proof_is_refused() {
    let found = |found, why| {
        vec![(granted(), "restore"), (Input::Rested, "find 25"), (Input::Found(found), why), (Input::Rested, "ask new")]
    };
    walk(RULES, &request(Some(25)), found(Some(false), "anew gap"));
    walk(RULES, &request(Some(25)), found(None, "anew log_unavailable"));
    let of = |change: fn(&mut Record)| {
        let mut session = session();
        change(&mut session.record);
        Input::Claimed(Ok(session))
    };
    let stale = || of(|record| record.stale = Some(at(25)));
    walk(RULES, &request(Some(25)), vec![(stale(), "restore"), (Input::Rested, "find 20")]);
    let doubtful = || of(|record| record.doubtful = Some(at(25)));
    walk(RULES, &request(Some(25)), vec![(doubtful(), "restore"), (Input::Rested, "anew gap")]);
    // The session began behind it: it belongs to something else, whatever it was.
    let behind = of(|record| record.doubtful = Some(at(9)));
    walk(RULES, &request(Some(9)), vec![(behind, "restore"), (Input::Rested, "find 20")]);
    walk(RULES, &request(Some(20 + AHEAD)), vec![(granted(), "restore"), (Input::Rested, "find 20")]);
    walk(RULES, &request(Some(26)), vec![(doubtful(), "restore"), (Input::Rested, "find 26")]);
    let strict = Rules { needs_offset: true, ..RULES };
    walk(strict, &request(None), vec![(granted(), "restore"), (Input::Rested, "anew no_offset")]);
    walk(strict, &request(Some(9)), vec![(granted(), "restore"), (Input::Rested, "anew no_offset")]);
    walk(strict, &request(Some(10)), vec![(granted(), "restore"), (Input::Rested, "find 20")]);

    let to_the_hub = || {
        vec![
            (granted(), "restore"),
            (Input::Rested, "find 25"),
            (Input::Found(Some(true)), "wait 25"),
            (Input::Reached, "look"),
        ]
    };
    let with = |input, want| {
        let mut steps = to_the_hub();
        steps.push((input, want));
        steps
    };
    let view_of = |whole_from, held, position| View { position, whole_from, held, doubles: &NO_DOUBLES };
    let hole = Input::View(view_of(at(11), Some(at(90)), Some(at(40))));
    walk(RULES, &request(Some(25)), with(hole, "anew gap"));
    let closed = Input::View(view_of(Offset::ZERO, Some(at(90)), None));
    walk(RULES, &request(Some(25)), with(closed, "wait 0"));
    let mut gone = with(view(40), "read 25");
    gone.push((Input::Page(None, at(40)), "anew gap"));
    walk(RULES, &request(Some(25)), gone);
    let mut empty = with(view(40), "read 25");
    empty.push((page(25, 25), "anew gap"));
    walk(RULES, &request(Some(25)), empty);
    let mut silent = with(view(40), "read 25");
    silent.push((Input::Unanswered, "anew log_unavailable"));
    walk(RULES, &request(Some(25)), silent);
}

#[test]
fn a_session_that_others_claim_is_claimed_again_three_times_in_all() {
    let contested = || Input::Claimed(Err(Refused::Contested));
    walk(
        RULES,
        &request(None),
        vec![
            (contested(), "claim"),
            (contested(), "claim"),
            (contested(), "anew contested"),
            (Input::Rested, "ask new"),
        ],
    );
    let shared = Input::Claimed(Err(Refused::Shared));
    walk(RULES, &request(None), vec![(shared, "anew shared")]);
    // Claimed by another one while it was replayed.
    let lost = Input::View(View {
        position: Some(at(40)),
        whole_from: Offset::ZERO,
        held: Some(at(91)),
        doubles: &NO_DOUBLES,
    });
    walk(
        RULES,
        &request(None),
        vec![
            (granted(), "restore"),
            (Input::Rested, "find 20"),
            (Input::Found(Some(true)), "wait 20"),
            (Input::Reached, "look"),
            (lost, "claim"),
        ],
    );
}

#[test]
fn middlewares_see_a_session_that_comes_back_unless_they_are_skipped() {
    let asks = Rules { skip_middlewares: false, ..RULES };
    walk(asks, &request(None), vec![(granted(), "ask old"), (Input::Verdict(true), "find 20")]);
    walk(asks, &request(None), vec![(granted(), "ask old"), (Input::Verdict(false), "end")]);
}

/// Others have their turn after each page that is full.
#[test]
fn a_long_replay_rests() {
    let rules = Rules { bounds: Bounds { bytes: 1_000, entries: 10_000 }, ..RULES };
    let steps = || {
        vec![
            (granted(), "restore"),
            (Input::Rested, "find 20"),
            (Input::Found(Some(true)), "wait 20"),
            (Input::Reached, "look"),
            (view(5_000), "read 20"),
        ]
    };
    let full = 20 + PAGE as u64;
    let mut long = steps();
    long.extend([(page(20, full), "rest"), (Input::Rested, "look"), (view(full), "enter from 20")]);
    walk(rules, &request(None), long);
    let mut too_long = steps();
    too_long.push((page(20, 200), "anew too_much"));
    walk(RULES, &request(None), too_long);
}
