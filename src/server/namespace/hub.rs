//! Who is in which room: the state behind a namespace's lock.
//!
//! Rooms know their members by small numbers, not by ids, so that a broadcast hashes no text for each receiver. A client's own room is not stored: its id is
//! looked up among the clients.

use crate::id::{Nsp, Offset, Room, SocketId};
use crate::server::changes::Change;
use crate::server::client::socket::Socket;
use crate::server::log::entry::Target;
use crate::server::log::reader::Reader;
use crate::server::log::seen::Samples;
use crate::server::namespace::hash::Keyed;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// Hashes socket numbers and socket ids, which servers make and clients can't choose.
#[derive(Default)]
pub struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        self.write_u64(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

type Numbered = BuildHasherDefault<NumberHasher>;
type Members = HashMap<u64, Socket, Numbered>;

/// The clients and rooms of a namespace, and how far its log has been delivered.
#[derive(Default)]
pub struct Hub {
    /// All clients.
    pub(crate) sockets: HashMap<SocketId, Socket, Numbered>,
    /// Rooms with at least one client.
    pub(crate) rooms: HashMap<Room, Members, Keyed>,
    /// Where the position was some time ago, for trimming.
    pub(crate) samples: Samples,
    /// How the log is read, and what waits for that.
    pub(crate) reader: Reader,
    /// Sessions that this server has claimed and not yet let in, with the claim.
    pub(crate) restoring: HashMap<SocketId, Offset>,
}

impl Hub {
    /// This very socket is in; another one may have taken its id over. It stands in the socket, too, so that no id is hashed for an event.
    pub(crate) fn has(&self, socket: &Socket) -> bool {
        socket.is_in()
    }

    /// Whether this very socket is in, and nobody has joined the room of its id: what is sent to that room is for it alone.
    pub(crate) fn is_alone(&self, socket: &Socket) -> bool {
        self.has(socket) && !self.rooms.contains_key(socket.id().as_str())
    }

    /// Adds a client with the rooms of its session.
    pub(crate) fn insert(&mut self, socket: &Socket) {
        if let Some(former) = self.sockets.insert(socket.id().clone(), socket.clone()) {
            former.set_in(false);
        }
        socket.set_in(true);
        tell(socket, |nsp, id| Change::Joined { nsp, id });
        for room in socket.joined_rooms().iter() {
            self.admit(socket, room);
        }
    }

    /// Takes a client out of everything; what it was in stays written in the socket.
    pub(crate) fn remove(&mut self, socket: &Socket) {
        if let Some(removed) = self.sockets.remove(socket.id()) {
            removed.set_in(false);
            tell(socket, |nsp, id| Change::Left { nsp, id });
        }
        for room in socket.joined_rooms().iter() {
            self.expel(socket, room);
        }
        if self.sockets.capacity() > 1_024 && self.sockets.len() * 8 < self.sockets.capacity() {
            self.sockets.shrink_to_fit();
            self.rooms.shrink_to_fit();
        }
    }

    fn expel(&mut self, socket: &Socket, room: &Room) {
        if let Some(members) = self.rooms.get_mut(room) {
            if members.remove(&socket.number()).is_some() {
                tell(socket, |nsp, id| Change::RoomLeft { nsp, room: room.clone(), id });
            }
            if members.is_empty() {
                self.rooms.remove(room);
                tell(socket, |nsp, _| Change::RoomDeleted { nsp, room: room.clone() });
            }
        }
    }

    /// False: it is in the room already.
    fn admit(&mut self, socket: &Socket, room: &Room) -> bool {
        let members = self.rooms.entry(room.clone()).or_default();
        let first = members.is_empty();
        if members.insert(socket.number(), socket.clone()).is_some() {
            return false;
        }
        if first {
            tell(socket, |nsp, _| Change::RoomCreated { nsp, room: room.clone() });
        }
        tell(socket, |nsp, id| Change::RoomJoined { nsp, room: room.clone(), id });
        true
    }

    /// Puts a client that is in into a room.
    pub(crate) fn join(&mut self, socket: &Socket, room: &Room) {
        debug_assert!(self.has(socket), "only who is in joins a room");
        let own = room.as_str() == socket.id().as_str();
        if !own && self.admit(socket, room) {
            socket.enter(room, self.reader.position());
        }
    }

    /// Takes a client that is in out of a room.
    pub(crate) fn leave(&mut self, socket: &Socket, room: &Room) {
        debug_assert!(self.has(socket), "only who is in leaves a room");
        if self.rooms.get(room).is_some_and(|members| members.contains_key(&socket.number())) {
            self.expel(socket, room);
            socket.leave_room(room, self.reader.position());
        }
    }

    pub(crate) fn matching(&self, to: &Target) -> Vec<Socket> {
        let mut sockets = Vec::new();
        self.each(to, |socket| sockets.push(socket.clone()));
        sockets
    }

    /// Calls `f` once for each client that is meant.
    pub(crate) fn each(&self, to: &Target, mut f: impl FnMut(&Socket)) {
        let excluded = Excluded::new(self, &to.except);
        match &to.rooms[..] {
            [] => self.sockets.values().filter(|socket| !excluded.has(socket)).for_each(f),
            [room] => {
                let members = self.rooms.get(room);
                if let Some(members) = members {
                    members.values().filter(|socket| !excluded.has(socket)).for_each(&mut f);
                }
                // Somebody may have joined the room of another client's id.
                let is_in = |socket: &Socket| members.is_some_and(|members| members.contains_key(&socket.number()));
                if let Some(own) = self.sockets.get(room.as_str())
                    && !is_in(own)
                    && !excluded.has(own)
                {
                    f(own);
                }
            }
            rooms => {
                let mut seen: HashSet<u64, Numbered> = HashSet::default();
                for room in rooms {
                    let members = self.rooms.get(room).into_iter().flat_map(HashMap::values);
                    for socket in members.chain(self.sockets.get(room.as_str())) {
                        if !excluded.has(socket) && seen.insert(socket.number()) {
                            f(socket);
                        }
                    }
                }
            }
        }
    }
}

/// Tells those who watch.
fn tell(socket: &Socket, change: impl FnOnce(Nsp, SocketId) -> Change) {
    let watchers = &socket.connection().server().core().watchers;
    watchers.tell(|| change(socket.nsp_name().clone(), socket.id().clone()));
}

/// The clients that a broadcast leaves out, found once.
#[derive(Default)]
struct Excluded<'a> {
    clients: Vec<u64>,
    rooms: Vec<&'a Members>,
}

impl<'a> Excluded<'a> {
    fn new(hub: &'a Hub, except: &[Room]) -> Excluded<'a> {
        if except.is_empty() {
            return Excluded::default();
        }
        Excluded {
            clients: except.iter().filter_map(|room| hub.sockets.get(room.as_str())).map(Socket::number).collect(),
            rooms: except.iter().filter_map(|room| hub.rooms.get(room)).collect(),
        }
    }

    fn has(&self, socket: &Socket) -> bool {
        self.clients.contains(&socket.number())
            || self.rooms.iter().any(|members| members.contains_key(&socket.number()))
    }
}
