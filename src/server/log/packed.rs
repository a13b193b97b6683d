//! Events at their smallest: how a log in this process keeps them.
//!
//! Nearly all entries are events of a few dozen bytes. One by one, with their own allocations, they would take three times the memory; and a log
//! at its cap would spend most of its time on freeing old entries, which no cache of the processor holds any more. So their texts stand one
//! behind the other in segments, and a segment is freed, or used again, as a whole.

use crate::codec::args::Args;
use crate::id::Room;
use crate::server::log::entry::{Entry, EventRef, Posted, Target};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of a segment.
const SEGMENT: usize = 64 * 1024;
/// Bytes of arguments beyond which an event is kept whole; twice as many are the most that a packed event takes, with its name and rooms.
const LARGE: usize = 4 * 1024;

/// Where an event stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    segment: u32,
    start: u32,
    len: u32,
}

impl Place {
    /// How many bytes it takes.
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }
}

/// The events of one log and of one sender, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Packed {
    uid: Option<Arc<str>>,
    segments: VecDeque<Vec<u8>>,
    /// The number of the first segment.
    first: u32,
    /// A segment that was given up, to be used again.
    spare: Option<Vec<u8>>,
}

impl Packed {
    /// Adds an event. `None`: it is kept whole, because it is large, has attachments, or comes from another sender than the first.
    pub(crate) fn add(&mut self, sender: &Arc<str>, seq: u64, event: EventRef<'_>) -> Option<Place> {
        let uid = self.uid.get_or_insert_with(|| sender.clone());
        if uid != sender || !event.args.attachments().is_empty() || event.args.text().len() > LARGE {
            return None;
        }
        // Before anything is written: a segment that grows does not shrink again.
        if size(event) > 2 * LARGE {
            return None;
        }
        if self.segments.back().is_none_or(|segment| segment.len() + 2 * LARGE > SEGMENT) {
            let spare = self.spare.take();
            // A log that stays small does not need a whole one.
            let room = if self.segments.is_empty() { 0 } else { SEGMENT };
            self.segments.push_back(spare.unwrap_or_else(|| Vec::with_capacity(room)));
        }
        let segment = u32::try_from(self.segments.len() - 1).ok()?.wrapping_add(self.first);
        let bytes = self.segments.back_mut()?;
        let start = bytes.len();
        if put(bytes, seq, event).is_none() {
            bytes.truncate(start);
            return None;
        }
        Some(Place { segment, start: u32::try_from(start).ok()?, len: u32::try_from(bytes.len() - start).ok()? })
    }

    /// An event as it was.
    pub(crate) fn get(&self, place: Place) -> Option<Posted> {
        let segment = self.segments.get(place.segment.wrapping_sub(self.first) as usize)?;
        let start = place.start as usize;
        let mut rest = segment.get(start..start + place.len())?;
        let (seq, tail) = rest.split_first_chunk::<8>()?;
        rest = tail;
        let to = Target { rooms: take_rooms(&mut rest)?.into(), except: take_rooms(&mut rest)? };
        let name = take(&mut rest)?.into();
        let args = Args::from_wire(take(&mut rest)?.to_owned(), Vec::new());
        let entry = Entry::Broadcast { to, name, args };
        Some(Posted { uid: self.uid.clone()?, seq: u64::from_le_bytes(*seq), entry })
    }

    /// Forgets what stands before `oldest`; everything, without one.
    pub(crate) fn forget(&mut self, oldest: Option<Place>) {
        let Some(oldest) = oldest else {
            *self = Packed { uid: self.uid.take(), first: self.first, ..Packed::default() };
            return;
        };
        while self.first != oldest.segment {
            let Some(mut segment) = self.segments.pop_front() else { return };
            segment.clear();
            self.spare = Some(segment);
            self.first = self.first.wrapping_add(1);
        }
    }
}

/// How many bytes [`put`] writes.
fn size(EventRef { rooms, except, name, args }: EventRef<'_>) -> usize {
    let text = |text: &str| size_of::<u32>() + text.len();
    let mut size = size_of::<u64>() + text(name) + text(args.text());
    for rooms in [rooms, except] {
        size += size_of::<u32>() + rooms.iter().map(|room| text(room.as_str())).sum::<usize>();
    }
    size
}

fn put(out: &mut Vec<u8>, seq: u64, EventRef { rooms, except, name, args }: EventRef<'_>) -> Option<()> {
    out.extend_from_slice(&seq.to_le_bytes());
    for rooms in [rooms, except] {
        out.extend_from_slice(&u32::try_from(rooms.len()).ok()?.to_le_bytes());
        for room in rooms {
            put_text(out, room.as_str())?;
        }
    }
    put_text(out, name)?;
    put_text(out, args.text())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Some(())
}

fn take_number(rest: &mut &[u8]) -> Option<usize> {
    let (number, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = take_number(rest)?;
    let (text, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}

fn take_rooms(rest: &mut &[u8]) -> Option<Vec<Room>> {
    let count = take_number(rest)?;
    (0..count).map(|_| take(rest).map(Room::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(uid: &str, seq: u64, rooms: &[&str], text: &str) -> Posted {
        let to = Target { rooms: rooms.iter().map(|room| Room::from(*room)).collect(), except: vec!["é".into()] };
        let args = Args::from_wire(text.to_owned(), Vec::new());
        Posted { uid: uid.into(), seq, entry: Entry::Broadcast { to, name: "naïve".into(), args } }
    }

    fn add(packed: &mut Packed, posted: &Posted) -> Option<Place> {
        let Entry::Broadcast { to, name, args } = &posted.entry else { panic!("no event") };
        packed.add(&posted.uid, posted.seq, EventRef { rooms: &to.rooms, except: &to.except, name, args })
    }

    #[test]
    fn events_come_out_as_they_went_in() {
        let mut packed = Packed::default();
        let events: Vec<Posted> = (0..3_000)
            .map(|n| event("a", n, &["x", ""][..n as usize % 3 % 2 + 1], &"7".repeat(n as usize % 90)))
            .collect();
        let places: Vec<Place> = events.iter().map(|event| add(&mut packed, event).unwrap()).collect();
        assert!(packed.segments.len() > 2);
        for (event, place) in events.iter().zip(&places) {
            assert_eq!(packed.get(*place).as_ref(), Some(event));
            let Entry::Broadcast { to, name, args } = &event.entry else { panic!("no event") };
            assert_eq!(place.len(), size(EventRef { rooms: &to.rooms, except: &to.except, name, args }));
        }
        // What comes before is forgotten, segment by segment, and one of them is used again.
        packed.forget(Some(places[2_500]));
        assert!(packed.spare.is_some() && packed.get(places[0]).is_none());
        assert_eq!(packed.get(places[2_500]).as_ref(), Some(&events[2_500]));
        packed.forget(None);
        assert!(packed.spare.is_none() && packed.get(places[2_999]).is_none());
        let place = add(&mut packed, &events[0]).unwrap();
        assert_eq!(packed.get(place).as_ref(), Some(&events[0]));
    }

    #[test]
    fn what_is_kept_whole() {
        let mut packed = Packed::default();
        assert!(add(&mut packed, &event("a", 1, &[], "1")).is_some());
        assert!(add(&mut packed, &event("b", 1, &[], "1")).is_none());
        assert!(add(&mut packed, &event("a", 1, &[], &"1".repeat(LARGE + 1))).is_none());
        assert!(add(&mut packed, &event("a", 1, &[&"1".repeat(2 * LARGE)], "1")).is_none());
        // What is refused for its rooms leaves the segment at its size.
        assert!(add(&mut packed, &event("a", 1, &["1".repeat(1_000).as_str(); 1_000], "1")).is_none());
        assert!(packed.segments[0].capacity() <= SEGMENT);
        let args = Args::new().with_binary(vec![1]);
        let entry = Entry::Broadcast { to: Target::default(), name: "x".into(), args };
        assert!(add(&mut packed, &Posted { uid: "a".into(), seq: 0, entry }).is_none());
        assert!(add(&mut packed, &event("a", 2, &[], "2")).is_some_and(|place| place.len() > 20));
    }
}
