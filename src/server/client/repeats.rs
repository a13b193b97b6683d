//! Requests that come twice. Long-polling acknowledges nothing: where a connection breaks, a proxy or a browser may send what it sent over it
//! once more over another one, and that must not be taken for the client's next request; nor may a client that says the same thing again lose it.
//!
//! What is the same twice proves nothing by itself. `t` in the query is a cache buster that clients make of the time, keep for ever, or use for
//! something else. What counts is what became of the connection that carried the same method, target and body just before:
//!
//! | that connection | the same POST | the same GET |
//! |---|---|---|
//! | has carried another request since: its answers were taken | new | new |
//! | broke before the answer was written or could arrive | handled already: `ok` | (its session ended then) |
//! | was reset behind the answer, which was taken or not | refused, so that nobody is told `ok` for nothing | the session ends, its client recovers |
//! | is open, or ended in order | new | new; but where each request of a session has a `t` of its own, as those of the official clients: the session ends |

use crate::id::Time;
use crate::server::namespace::hash::Keyed;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Milliseconds after the end of a connection in which a proxy repeats what it lost with it.
const WITHIN: u64 = 2_000;

/// How a connection ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The peer or the server had nothing more to say.
    #[default]
    InOrder,
    /// The peer reset it.
    Reset,
    /// The last answer could not be written, or met a peer that had closed before: it was not taken.
    Unanswered,
}

/// A TCP connection, as far as the fate of its answers goes.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    /// Requests that it has carried.
    requests: AtomicU32,
    /// 0 while it is open, then the moment of its end and the kind in two bits.
    end: AtomicU64,
}

/// What is known of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Unknown,
    Doubtful,
    Lost,
}

impl Carrier {
    /// Another request has come: the answers before it were taken.
    pub(crate) fn carries(&self) {
        self.requests.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn ends(&self, now: Time, end: End) {
        let kind = match end {
            End::InOrder => 1,
            End::Reset => 2,
            End::Unanswered => 3,
        };
        self.end.store(now.0 << 2 | kind, Ordering::Release);
    }

    /// Of the answer to its request of this number.
    fn fate(&self, number: u32, now: Time) -> Fate {
        let end = self.end.load(Ordering::Acquire);
        let fresh = now.since(Time(end >> 2)) <= WITHIN;
        match end & 3 {
            _ if self.requests.load(Ordering::Acquire) != number => Fate::Taken,
            2 if fresh => Fate::Doubtful,
            3 if fresh => Fate::Lost,
            _ => Fate::Unknown,
        }
    }
}

/// A request that was taken.
#[derive(Debug)]
struct Seen {
    /// Of its target and body.
    print: u64,
    /// Of its `t`.
    mark: Option<u64>,
    carrier: Arc<Carrier>,
    number: u32,
}

/// What a POST is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To be handled.
    New,
    /// Handled already, by the one that was not answered.
    Handled,
    /// Handled already, and answered or not.
    Doubtful,
}

/// A request that may come twice.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) target: &'a str,
    /// `t` in its query.
    pub(crate) mark: Option<&'a str>,
    pub(crate) body: &'a [u8],
    pub(crate) carrier: &'a Arc<Carrier>,
}

/// The latest requests of one session.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    get: Option<Seen>,
    post: Option<Seen>,
    /// Requests that differ had the same `t`: it says nothing.
    vain: bool,
}

impl Repeats {
    /// A POST has come, with its body.
    pub(crate) fn post(&mut self, now: Time, hash: &Keyed, request: Request<'_>) -> Verdict {
        let seen = Seen::new(hash, request);
        let known = self.post.as_ref().filter(|last| last.print == seen.print);
        let verdict = match known.map(|last| last.carrier.fate(last.number, now)) {
            Some(Fate::Lost) => Verdict::Handled,
            Some(Fate::Doubtful) => Verdict::Doubtful,
            Some(Fate::Taken | Fate::Unknown) | None => Verdict::New,
        };
        self.vain |= same_mark(self.get.as_ref(), &seen) || (known.is_none() && same_mark(self.post.as_ref(), &seen));
        // Of one that may come a third time the connection that broke counts, not that of its refusal.
        if verdict != Verdict::Doubtful {
            self.post = Some(seen);
        }
        verdict
    }

    /// A GET has come. True: for the one before it, whose answer may be lost. `opening` is the `t` of the request that opened the session.
    pub(crate) fn get(
        &mut self,
        now: Time,
        hash: &Keyed,
        request: Request<'_>,
        opening: impl FnOnce() -> Option<String>,
    ) -> bool {
        let seen = Seen::new(hash, request);
        self.vain |= same_mark(self.post.as_ref(), &seen);
        let fate = match self.get.as_ref().filter(|last| last.print == seen.print) {
            Some(last) => last.carrier.fate(last.number, now),
            None => Fate::Taken,
        };
        let again = match fate {
            Fate::Taken => false,
            Fate::Doubtful | Fate::Lost => true,
            Fate::Unknown => {
                let others =
                    [opening().as_deref().and_then(|t| mark(hash, t)), self.post.as_ref().and_then(|p| p.mark)];
                !self.vain && seen.mark.is_some() && others.iter().all(|other| other.is_some() && *other != seen.mark)
            }
        };
        self.get = Some(seen);
        again
    }
}

impl Seen {
    fn new(hash: &Keyed, Request { target, mark: t, body, carrier }: Request<'_>) -> Seen {
        let number = carrier.requests.load(Ordering::Acquire);
        let print = hash.hash_one(Print(target.as_bytes(), body));
        Seen { print, mark: t.and_then(|t| mark(hash, t)), carrier: carrier.clone(), number }
    }
}

struct Print<'a>(&'a [u8], &'a [u8]);

impl Hash for Print<'_> {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        hasher.write(self.0);
        hasher.write(self.1);
    }
}

/// A `t` without a letter counts for nothing: some clients take the time in seconds.
fn mark(hash: &Keyed, t: &str) -> Option<u64> {
    t.bytes().any(|byte| byte.is_ascii_alphabetic()).then(|| hash.hash_one(Print(t.as_bytes(), &[])))
}

fn same_mark(known: Option<&Seen>, seen: &Seen) -> bool {
    seen.mark.is_some() && known.is_some_and(|known| known.mark == seen.mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two requests of a session, their `t` and what became of the first one's connection between them.
    struct Case {
        repeats: Repeats,
        hash: Keyed,
        now: Time,
    }

    impl Case {
        fn new() -> Case {
            Case { repeats: Repeats::default(), hash: Keyed::default(), now: Time(1_000_000) }
        }

        fn post(&mut self, t: &str, body: &str, carrier: &Arc<Carrier>) -> Verdict {
            carrier.carries();
            let target = format!("/?sid=x&t={t}");
            let request = Request { target: &target, mark: Some(t), body: body.as_bytes(), carrier };
            self.repeats.post(self.now, &self.hash, request)
        }

        fn get(&mut self, t: &str, carrier: &Arc<Carrier>, opening: &str) -> bool {
            carrier.carries();
            let target = format!("/?sid=x&t={t}");
            let request = Request { target: &target, mark: Some(t), body: &[], carrier };
            self.repeats.get(self.now, &self.hash, request, || Some(opening.to_owned()))
        }
    }

    /// What becomes of the first connection before the second request comes.
    #[derive(Clone, Copy, Debug)]
    enum Then {
        Open,
        Carries,
        Ends(End),
        EndedLongAgo(End),
        CarriesAndEnds(End),
    }

    fn befalls(case: &mut Case, carrier: &Carrier, then: Then) {
        match then {
            Then::Open => {}
            Then::Carries => carrier.carries(),
            Then::Ends(end) => carrier.ends(case.now, end),
            Then::EndedLongAgo(end) => {
                carrier.ends(case.now, end);
                case.now = case.now.plus(WITHIN + 1);
            }
            Then::CarriesAndEnds(end) => {
                carrier.carries();
                carrier.ends(case.now, end);
            }
        }
    }

    const ALL: [(Then, Verdict); 9] = [
        (Then::Open, Verdict::New),
        (Then::Carries, Verdict::New),
        (Then::Ends(End::InOrder), Verdict::New),
        (Then::Ends(End::Reset), Verdict::Doubtful),
        (Then::Ends(End::Unanswered), Verdict::Handled),
        (Then::EndedLongAgo(End::Reset), Verdict::New),
        (Then::EndedLongAgo(End::Unanswered), Verdict::New),
        (Then::CarriesAndEnds(End::Reset), Verdict::New),
        (Then::CarriesAndEnds(End::Unanswered), Verdict::New),
    ];

    #[test]
    fn a_post_counts_unless_the_one_before_was_the_same_and_its_connection_broke() {
        for (then, want) in ALL {
            for (t, body, same) in [("abc", "4a", true), ("abc", "4b", false), ("abd", "4a", false)] {
                let mut case = Case::new();
                let first = Arc::default();
                assert_eq!(case.post("abc", "4a", &first), Verdict::New);
                befalls(&mut case, &first, then);
                let want = if same { want } else { Verdict::New };
                assert_eq!(case.post(t, body, &Arc::default()), want, "{then:?} {t} {body}");
            }
        }
    }

    #[test]
    fn another_post_in_between_makes_it_new() {
        let mut case = Case::new();
        let first = Arc::default();
        case.post("abc", "4a", &first);
        first.ends(case.now, End::Unanswered);
        assert_eq!(case.post("abc", "4b", &Arc::default()), Verdict::New);
        assert_eq!(case.post("abc", "4a", &Arc::default()), Verdict::New);
    }

    #[test]
    fn a_third_one_is_as_doubtful_as_the_second() {
        let mut case = Case::new();
        let first = Arc::default();
        case.post("abc", "4a", &first);
        first.ends(case.now, End::Reset);
        for _ in 0..3 {
            assert_eq!(case.post("abc", "4a", &Arc::default()), Verdict::Doubtful);
        }
        // Of one that was known for handled the own answer counts.
        first.ends(case.now, End::Unanswered);
        assert_eq!(case.post("abc", "4a", &Arc::default()), Verdict::Handled);
        assert_eq!(case.post("abc", "4a", &Arc::default()), Verdict::New);
    }

    /// `t` counts where a session's requests each have their own, and nowhere else.
    #[test]
    fn a_get_is_for_the_one_before_if_that_broke_or_t_is_known_to_be_unique() {
        for (then, verdict) in ALL {
            let broke = verdict != Verdict::New;
            let carried = matches!(then, Then::Carries | Then::CarriesAndEnds(_));
            for (opening, post, unique) in [
                ("aaa", Some("bbb"), true),
                ("abc", Some("bbb"), false),
                ("aaa", Some("abc"), false),
                ("aaa", None, false),
                ("1", Some("bbb"), false),
                ("aaa", Some("1"), false),
            ] {
                let mut case = Case::new();
                let first = Arc::default();
                post.map(|t| case.post(t, "40", &Arc::default()));
                assert!(!case.get("abc", &first, opening));
                befalls(&mut case, &first, then);
                let again = case.get("abc", &Arc::default(), opening);
                assert_eq!(again, broke || (unique && !carried), "{then:?} {opening} {post:?}");
                assert!(!case.get("abd", &Arc::default(), opening), "another t");
            }
        }
    }

    /// The clients of the public threads: a constant `t`, and one of the time in milliseconds, over any connections.
    #[test]
    fn a_t_that_says_nothing_costs_nothing() {
        for kept in [true, false] {
            for t in [|_| "tenant".to_owned(), |i: u32| format!("mk{}", i / 10), |i: u32| format!("{}", i / 10)] {
                let mut case = Case::new();
                let (mut reads, mut writes) = (Arc::default(), Arc::default());
                for i in 0..100 {
                    assert_eq!(case.post(&t(i), "42[\"tick\"]", &writes), Verdict::New);
                    assert!(!case.get(&t(i), &reads, &t(0)));
                    if !kept {
                        reads.ends(case.now, End::InOrder);
                        writes.ends(case.now, End::InOrder);
                        (reads, writes) = (Arc::default(), Arc::default());
                    }
                }
            }
        }
    }
}
