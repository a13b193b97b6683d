//! What the applications of the simulated cluster do: events, rooms, commands to many clients.

use super::*;

impl Cluster {
    pub(super) fn sid(&self, i: usize) -> Option<String> {
        self.sids.get(self.peers[i].0.pid.as_ref()?).cloned()
    }

    fn aim(&mut self, i: usize) -> Target {
        let own = self.sid(i).map(Room::from);
        let room = |world: &mut Cluster| Room::from(ROOMS[world.below(3)]);
        match self.below(6) {
            0 | 1 => Target::default(),
            2 => Target { rooms: own.into_iter().collect(), except: Vec::new() },
            3 => Target { rooms: vec![room(self)].into(), except: own.into_iter().collect() },
            _ => Target { rooms: vec![room(self)].into(), except: Vec::new() },
        }
    }

    fn broadcast(&self, k: usize, to: &Target) -> Broadcast {
        let all = self.nodes[k].server.of("/").all();
        let to_rooms = to.rooms.iter().fold(all, |broadcast, room| broadcast.to(room));
        to.except.iter().fold(to_rooms, |broadcast, room| broadcast.except(room))
    }

    pub(super) fn emit(&mut self, k: usize, i: usize) {
        if self.is_frozen(k) {
            return;
        }
        for _ in 0..=self.below(3) {
            let to = self.aim(i);
            self.number += 1;
            self.say(|| format!("node {k} emits {} to {to:?}", self.number));
            self.broadcast(k, &to).emit("logged", json!(self.number)).unwrap();
        }
    }

    pub(super) fn volatile(&mut self, k: usize) {
        self.number += 1;
        if !self.is_frozen(k) {
            self.nodes[k].server.of("/").all().volatile().emit("passing", json!(self.number)).unwrap();
        }
    }

    pub(super) fn echo(&mut self, i: usize) {
        self.number += 1;
        let frozen = self.is_frozen(self.peers[i].1);
        if let (true, Some(line)) = (self.peers[i].0.connected && !frozen, &self.peers[i].0.line) {
            self.say(|| format!("{i} asks for echo {}", self.number));
            line.send(self.now(), &format!("42{0}[\"echo\",{0}]", self.number));
        }
    }

    pub(super) fn join_or_leave(&mut self, i: usize) {
        let (room, join, k) = (ROOMS[self.below(3)], self.below(3) > 0, self.peers[i].1);
        let Some(sid) = self.sid(i).filter(|_| !self.is_frozen(k)) else { return };
        let namespace = self.nodes[k].server.of("/");
        let Some(socket) = namespace.socket(&SocketId::from_record(&sid)) else { return };
        self.say(|| format!("{i} joins ({join}) {room} at {}", namespace.position()));
        match join {
            true => socket.join(room).unwrap(),
            false => socket.leave(room).unwrap(),
        }
        if let Some(session) = self.sessions.get_mut(&sid) {
            session.pending.fetch_add(1, Ordering::Relaxed);
            let saved = session.pending.clone();
            // What was not saved stays pending.
            socket.when_saved(move |result| {
                saved.fetch_sub(usize::from(result.is_ok()), Ordering::Relaxed);
            });
        }
    }

    pub(super) fn command(&mut self, k: usize, i: usize) {
        if self.is_frozen(k) {
            return;
        }
        let to = self.aim(i);
        let rooms = vec![Room::from(ROOMS[self.below(3)])];
        let broadcast = self.broadcast(k, &to);
        let which = self.below(12);
        self.say(|| format!("node {k}: command {which} for {to:?}"));
        let done = match which {
            0..=6 => broadcast.sockets_join(rooms),
            7..=10 => broadcast.sockets_leave(rooms),
            _ => broadcast.disconnect_sockets(false),
        };
        done.unwrap();
    }
}
