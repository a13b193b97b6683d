//! What a client must have got, by the log as it was first written.

use super::*;

impl Cluster {
    pub(super) fn is_kicked(&self, sid: &str) -> bool {
        self.walk(sid).1
    }

    pub(super) fn expected(&self, sid: &str) -> Vec<u64> {
        self.walk(sid).0
    }

    /// Without what came again after a flush.
    pub(super) fn sure(&self, events: &[u64]) -> Vec<u64> {
        events.iter().copied().filter(|n| !self.again.contains(n)).collect()
    }

    /// What the session of `sid` must have got by the log, and whether it was kicked.
    fn walk(&self, sid: &str) -> (Vec<u64>, bool) {
        let Some(session) = self.sessions.get(sid) else { return (Vec::new(), false) };
        let mut rooms = BTreeSet::new();
        let mut events = Vec::new();
        for (_, fact) in self.facts.iter().skip(session.first).filter(|(id, _)| *id > session.since) {
            let is_in = |room: &Room| room.as_str() == sid || rooms.contains(room.as_str());
            match fact {
                Fact::Event(n, to) if to.matches(is_in) => events.push(*n),
                Fact::Kick(to) if to.matches(is_in) => return (events, true),
                Fact::Join(to, names, join) if to.matches(is_in) => {
                    for name in names {
                        match join {
                            true => drop(rooms.insert(name.as_str().to_owned())),
                            false => drop(rooms.remove(name.as_str())),
                        }
                    }
                }
                _ => {}
            }
        }
        (events, false)
    }

    /// Everything heals, everybody comes back and hears all: nothing may be missing.
    pub fn finish(mut self) -> Result<(), String> {
        self.say(|| "everything heals".to_owned());
        self.paused = false;
        (0..3).for_each(|k| self.nodes[k].frozen = 0);
        self.pass(60_000)?;
        self.calm();
        for _ in 0..6 {
            for i in 0..3 {
                self.deliver(i, 1_000)?;
                if !self.peers[i].0.connected {
                    let k = self.below(3);
                    self.connect(i, k)?;
                }
            }
            self.calm();
            self.clock.fetch_add(2_500, Ordering::Relaxed);
            self.calm();
        }
        self.judge_cuts()?;
        for i in 0..3 {
            self.deliver(i, 1_000)?;
            let Some(sid) = self.sid(i) else { return Err(format!("{i} never got in")) };
            let (expected, kicked) = self.walk(&sid);
            let session = self.sessions.get(&sid).ok_or("no session")?;
            let sure = !session.unsure && session.pending.load(Ordering::Relaxed) == 0;
            if self.peers[i].0.connected && (kicked && sure || session.gap) {
                self.say_log();
                return Err(format!("{i} ({sid}) goes on, kicked: {kicked}, gap: {}", session.gap));
            }
            if !self.peers[i].0.connected && !kicked {
                return Err(format!("{i} ({sid}) can't come back"));
            }
            if self.peers[i].0.connected && sure && !session.over && self.sure(&session.got) != self.sure(&expected) {
                let (k, got) = (self.peers[i].1, &session.got);
                let here = self.nodes[k].server.of("/").socket(&SocketId::from_record(&sid)).is_some();
                return Err(format!(
                    "{i} ({sid}) got {got:?} in the end, should get {expected:?}; at node {k}: {here}"
                ));
            }
        }
        Ok(())
    }
}
