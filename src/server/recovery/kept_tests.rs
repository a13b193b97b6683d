//! Changes on their way, bounds, and what a record says, without a log.

use super::*;
use std::sync::Mutex;

fn at(ms: u64) -> Offset {
    Offset { ms, seq: 0 }
}

fn kept() -> Kept {
    let mut kept = Kept::new(Arc::new(Value::Null));
    kept.begin(Place { since: at(10), confirmed: at(10), changed: at(10), ..Place::default() }, false);
    kept
}

type Heard = Arc<Mutex<Vec<(u8, Result<(), EmitError>)>>>;

fn waits(kept: &mut Kept, heard: &Heard, name: u8) {
    let hears = heard.clone();
    let ready = kept.when_saved(Box::new(move |result| hears.lock().unwrap().push((name, result))));
    ready.into_iter().for_each(|action| action());
}

fn take(heard: &Heard) -> Vec<(u8, Result<(), EmitError>)> {
    std::mem::take(&mut heard.lock().unwrap())
}

#[test]
fn whoever_waits_hears_of_the_changes_before_and_of_no_others() {
    let (mut kept, heard) = (kept(), Heard::default());
    waits(&mut kept, &heard, 0);
    assert_eq!(take(&heard), [(0, Ok(()))], "nothing is on its way");
    kept.change_begun(1, "a".into(), true);
    waits(&mut kept, &heard, 1);
    kept.change_begun(2, "b".into(), true);
    waits(&mut kept, &heard, 2);
    kept.change_kept(2).into_iter().for_each(|action| action());
    assert_eq!(take(&heard), [], "the first is still on its way");
    kept.change_kept(1).into_iter().for_each(|action| action());
    assert_eq!(take(&heard), [(1, Ok(())), (2, Ok(()))]);
}

#[test]
fn a_refused_change_is_told_to_those_who_wait_for_it() {
    let (mut kept, heard) = (kept(), Heard::default());
    let error = EmitError::Log(crate::server::log::streams::StreamError::Refused);
    let refused = Err(error);
    for seq in 1..=3 {
        kept.change_begun(seq, "a".into(), true);
        waits(&mut kept, &heard, seq as u8);
    }
    kept.change_failed(2, error).into_iter().for_each(|action| action());
    kept.change_kept(1).into_iter().for_each(|action| action());
    kept.change_kept(3).into_iter().for_each(|action| action());
    assert_eq!(take(&heard), [(1, Ok(())), (2, refused), (3, refused)]);
    // Before anybody waits: told to the next, and to nobody after that.
    kept.change_begun(4, "a".into(), true);
    kept.change_failed(4, error).into_iter().for_each(|action| action());
    waits(&mut kept, &heard, 4);
    waits(&mut kept, &heard, 5);
    assert_eq!(take(&heard), [(4, refused), (5, Ok(()))]);
    kept.change_begun(5, "a".into(), true);
    waits(&mut kept, &heard, 6);
    kept.give_up().into_iter().for_each(|action| action());
    assert_eq!(take(&heard), [(6, Err(EmitError::Moved))]);
}

#[test]
fn data_that_were_refused_are_told_and_written_again() {
    let (mut kept, heard) = (kept(), Heard::default());
    let error = EmitError::Log(crate::server::log::streams::StreamError::Full);
    kept.set_data(Arc::new(Value::from(1)));
    waits(&mut kept, &heard, 1);
    kept.set_data(Arc::new(Value::from(2)));
    waits(&mut kept, &heard, 2);
    kept.data_refused(1, error).into_iter().for_each(|action| action());
    assert_eq!(take(&heard), [(1, Err(error))], "the second is not decided");
    assert!(kept.has_news());
    kept.data_saved(2).into_iter().for_each(|action| action());
    assert_eq!(take(&heard), [(2, Ok(()))]);
}

#[test]
fn what_is_planned_counts_for_bounds_and_for_the_application() {
    let mut kept = kept();
    kept.enter(&"aa".into(), at(11));
    kept.change_begun(1, "bbb".into(), true);
    kept.change_begun(2, "aa".into(), false);
    assert_eq!(kept.planned_rooms(), ["bbb".into()]);
    assert_eq!(kept.plans(&"bbb".into()), Planned::In);
    // What is left counts until it is.
    assert_eq!(kept.plans(&"aa".into()), Planned::Out { rooms: 2, bytes: 5 });
    kept.leave(&"aa".into(), at(12));
    kept.change_kept(2);
    kept.enter(&"bbb".into(), at(13));
    kept.change_kept(1);
    assert_eq!(kept.plans(&"c".into()), Planned::Out { rooms: 1, bytes: 3 });
}

#[test]
fn a_record_tells_rooms_now_and_where_its_client_is_known_to_be() {
    let mut kept = kept();
    let (nsp, sid, pid) = (Nsp::new("/"), SocketId::from_record("s"), Pid::from_wire("AAAAAAAAAAAAAAAAAAAA").unwrap());
    let record = |kept: &mut Kept, until| kept.record(Time(0), at(until), (&nsp, &sid, &pid), false).0;
    assert!(kept.has_news());
    kept.enter(&"a".into(), at(11));
    let first = record(&mut kept, 12);
    assert_eq!((first.position, first.rooms_since, first.rooms_until), (at(10), at(11), at(12)));
    assert_eq!((&first.rooms[..], first.base), (&["a".into()][..], Some(Vec::new())));
    assert!(!kept.may_write(), "one at a time");
    assert!(kept.was_written(true, true) && kept.may_write(), "a newer one follows");
    // Noted at 15, changed at 16, and then the pong comes: it proves 15, and the rooms of then.
    kept.note(at(15));
    kept.enter(&"b".into(), at(16));
    kept.confirm();
    assert!(kept.has_news());
    let second = record(&mut kept, 17);
    assert_eq!((second.position, second.rooms_since, second.rooms.len()), (at(15), at(16), 2));
    assert_eq!(second.base, Some(vec!["a".into()]));
    kept.note(at(18));
    kept.confirm();
    let third = record(&mut kept, 19);
    assert_eq!((third.position, third.base), (at(18), None));
    kept.note(at(9));
    kept.confirm();
    assert_eq!(record(&mut kept, 19).position, at(18), "nothing is unproved");
}
