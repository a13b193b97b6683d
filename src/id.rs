//! The names of things: every identifier is checked once, where it enters, and is its own type from then on.
//!
//! Wire forms: Engine.IO and Socket.IO ids are 20 characters of url-safe base64 (15 random bytes), as the
//! official server makes them; an [`Offset`] is written like a Redis stream id, `<ms>-<seq>`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::borrow::Borrow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// A source of random bytes, passed in so that tests and simulations are repeatable.
pub type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// Something that is done when it has been polled to its end.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What polls tasks to their end, passed in for the same reason: the runtime of the application, or the test itself.
pub type Spawner = Arc<dyn Fn(Task) + Send + Sync>;

/// A clock, passed in for the same reason.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// A moment: milliseconds since 1970 on the server's own clock, which never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The moment `ms` milliseconds later, at most the end of time.
    #[must_use]
    pub fn plus(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// As JavaScript's `toISOString`: `2026-01-31T12:00:00.000Z`.
    #[must_use]
    pub fn iso(self) -> String {
        let (year, month, day) = civil(self.0 / 86_400_000);
        let (hour, minute, second) = clock(self.0);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", self.0 % 1000)
    }

    /// As JavaScript's `toString`: `Sat Jan 31 2026 12:00:00 GMT+0000`.
    #[must_use]
    pub fn human(self) -> String {
        let (weekday, day, month, year) = self.date();
        let (hour, minute, second) = clock(self.0);
        format!("{weekday} {month} {day:02} {year} {hour:02}:{minute:02}:{second:02} GMT+0000")
    }

    /// As HTTP wants it, RFC 9110 section 5.6.7: `Sat, 31 Jan 2026 12:00:00 GMT`.
    #[must_use]
    pub fn http(self) -> String {
        let (weekday, day, month, year) = self.date();
        let (hour, minute, second) = clock(self.0);
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }

    /// Weekday, day, month and year.
    fn date(self) -> (&'static str, u64, &'static str, u64) {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let days = self.0 / 86_400_000;
        let (year, month, day) = civil(days);
        let weekday = DAYS.iter().cycle().nth((days % 7) as usize).copied().unwrap_or_default();
        (weekday, day, MONTHS.get(month as usize - 1).copied().unwrap_or_default(), year)
    }
}

/// Hour, minute and second of a day.
fn clock(ms: u64) -> (u64, u64, u64) {
    let seconds = ms / 1000 % 86_400;
    (seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar; years begin in March here, so that the leap day is
/// the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Makes a 20 character id out of 15 random bytes.
fn make(random: &Random) -> Box<str> {
    let mut bytes = [0u8; 15];
    random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes).into_boxed_str()
}

/// An Engine.IO session id: secret, because who knows it can speak for the client.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sid(Box<str>);

impl Sid {
    /// A new id from 15 random bytes; where several servers share their clients it begins with its server's `tag` of six characters.
    #[must_use]
    pub fn new(tag: &str, random: &Random) -> Sid {
        let id = make(random);
        Sid(format!("{tag}{}", id.get(tag.len()..).unwrap_or("")).into())
    }

    /// The id as it stands in a query; any text, it is only ever looked up.
    #[must_use]
    pub fn from_wire(text: &str) -> Sid {
        Sid(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Sid {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A session id is a secret: logs show its first four characters only.
impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0.get(..4).unwrap_or(""))
    }
}

/// A Socket.IO id: one client in one namespace. Public: other clients see it, and it is a room of its own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(Room);

impl SocketId {
    /// A new id from 15 random bytes.
    #[must_use]
    pub fn new(random: &Random) -> SocketId {
        SocketId(Room(make(random).into()))
    }

    /// Whether this could be some client's id: 20 characters of url-safe base64.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        Pid::from_wire(text).is_some()
    }

    /// An id read back from a session record.
    #[must_use]
    pub fn from_record(text: &str) -> SocketId {
        SocketId(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The room that has this client alone.
    #[must_use]
    pub fn room(&self) -> Room {
        self.0.clone()
    }

    /// The same, lent.
    pub(crate) fn as_room(&self) -> &Room {
        &self.0
    }
}

impl From<&str> for SocketId {
    fn from(id: &str) -> SocketId {
        SocketId(id.into())
    }
}

impl From<String> for SocketId {
    fn from(id: String) -> SocketId {
        SocketId(id.into())
    }
}

impl Borrow<str> for SocketId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The private session id of connection state recovery: secret, who knows it can take the session over.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pid(Arc<str>);

impl Pid {
    /// A new id from 15 random bytes.
    #[must_use]
    pub fn new(random: &Random) -> Pid {
        Pid(make(random).into())
    }

    /// A pid as a client sent it: 20 characters of url-safe base64, or nothing.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Pid> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (text.len() == 20 && text.bytes().all(legal)).then(|| Pid(text.into()))
    }

    /// The pid as text, for the client and for the key of its session record.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A pid is a secret: logs show its first four characters only.
impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0.get(..4).unwrap_or(""))
    }
}

/// The name of a room. Any text; its length is limited where clients can choose it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// The room's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Room {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Room {
    fn from(name: &str) -> Room {
        Room(name.into())
    }
}

impl From<String> for Room {
    fn from(name: String) -> Room {
        Room(name.into())
    }
}

impl From<&Room> for Room {
    fn from(room: &Room) -> Room {
        room.clone()
    }
}

impl From<&SocketId> for Room {
    fn from(id: &SocketId) -> Room {
        id.room()
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Nsp {
    fn from(name: &str) -> Nsp {
        Nsp::new(name)
    }
}

/// The name of a namespace, with its leading `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nsp(Arc<str>);

impl Nsp {
    /// A namespace name; a missing leading `/` is added, as in `io.of("admin")`.
    #[must_use]
    pub fn new(name: &str) -> Nsp {
        match name.starts_with('/') {
            true => Nsp(name.into()),
            false => Nsp(format!("/{name}").into()),
        }
    }

    /// The name, with its leading `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Nsp {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nsp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A position in a log: the id of an entry, `<milliseconds>-<sequence>`, and so the offset that clients hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// Milliseconds since 1970, by the clock of the log.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl Offset {
    /// Before every entry.
    pub const ZERO: Offset = Offset { ms: 0, seq: 0 };

    /// The last position before this one, so that a read after it begins with this one.
    #[must_use]
    pub fn before(self) -> Offset {
        match self.seq {
            0 => Offset { ms: self.ms.saturating_sub(1), seq: u64::MAX },
            seq => Offset { ms: self.ms, seq: seq - 1 },
        }
    }

    /// The first position after this one.
    #[must_use]
    pub fn next(self) -> Offset {
        match self.seq {
            u64::MAX => Offset { ms: self.ms.saturating_add(1), seq: 0 },
            seq => Offset { ms: self.ms, seq: seq + 1 },
        }
    }

    /// Reads `<ms>-<seq>` in plain decimal digits, as clients send it back; anything else is no offset.
    #[must_use]
    pub fn from_wire(text: &str) -> Option<Offset> {
        let (ms, seq) = text.split_once('-')?;
        let number = |s: &str| match s.bytes().all(|b| b.is_ascii_digit()) {
            true => s.parse::<u64>().ok(),
            false => None,
        };
        Some(Offset { ms: number(ms)?, seq: number(seq)? })
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (ms, iso, human, http) in [
            (0, "1970-01-01T00:00:00.000Z", "Thu Jan 01 1970 00:00:00 GMT+0000", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (
                951_782_400_123,
                "2000-02-29T00:00:00.123Z",
                "Tue Feb 29 2000 00:00:00 GMT+0000",
                "Tue, 29 Feb 2000 00:00:00 GMT",
            ),
            (
                1_795_424_399_999,
                "2026-11-23T08:59:59.999Z",
                "Mon Nov 23 2026 08:59:59 GMT+0000",
                "Mon, 23 Nov 2026 08:59:59 GMT",
            ),
        ] {
            assert_eq!([Time(ms).iso(), Time(ms).human(), Time(ms).http()], [iso, human, http]);
        }
    }

    #[test]
    fn offsets() {
        for (text, want) in [
            ("0-0", Some(Offset::ZERO)),
            ("1700000000000-3", Some(Offset { ms: 1_700_000_000_000, seq: 3 })),
            ("", None),
            ("-", None),
            ("1-", None),
            ("-1", None),
            ("+1-1", None),
            ("1-1-1", None),
            ("99999999999999999999-0", None),
            ("hello", None),
        ] {
            assert_eq!(Offset::from_wire(text), want, "{text}");
            if let Some(offset) = want {
                assert_eq!(offset.to_string(), text);
            }
        }
    }

    #[test]
    fn pids_from_the_wire() {
        assert!(Pid::from_wire("abcdefghij0123456_-X").is_some());
        for bad in ["", "short", "abcdefghij0123456_-/", "abcdefghij0123456_-XX"] {
            assert!(Pid::from_wire(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn secrets_are_not_printed_whole() {
        let random: Random = Arc::new(|b: &mut [u8]| b.fill(0));
        assert_eq!(format!("{:?} {:?}", Sid::new("", &random), Pid::new(&random)), "AAAA… AAAA…");
    }
}
