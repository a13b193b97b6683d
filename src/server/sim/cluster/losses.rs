//! What befalls the whole cluster at once: its last seconds are lost, another log takes its place, others cut it off.

use super::*;

impl Cluster {
    /// The power fails, or a snapshot is restored: the log ends some seconds ago, and the servers begin anew. Or the log is an empty one
    /// whose clock is behind.
    pub(super) fn lose_power(&mut self) -> Result<(), String> {
        let empty = self.below(4) == 0;
        let since = match empty {
            true => 0,
            false => self.now().0 - self.below(5_000) as u64,
        };
        self.say(|| format!("the power fails, and all since {since} is lost"));
        self.notice();
        (0..3).try_for_each(|k| self.crash(k))?;
        self.ghosts.clear();
        self.store.lose_tail(Time(since));
        let lost = |id: &Offset| id.ms >= since;
        let facts = self.facts.iter().filter(|(id, _)| lost(id));
        let gone: HashSet<u64> = facts.filter_map(|(_, fact)| fact.number()).collect();
        // Whoever has got something of it must not go on. What nobody has got, and what no server knows any more, was never there.
        for session in self.sessions.values_mut() {
            session.gap |= session.got.iter().any(|n| gone.contains(n)) || lost(&session.since);
            session.unsure = true;
        }
        self.facts.retain(|(id, _)| !lost(id));
        self.clock.fetch_add(1, Ordering::Relaxed);
        if empty && self.below(2) == 0 {
            let back = self.below(30_000) as u64;
            self.say(|| format!("the clock goes back by {back}"));
            self.clock.fetch_sub(back, Ordering::Relaxed);
        }
        Ok(())
    }

    /// XADD with MAXLEN by another program: what all servers have read may go.
    pub(super) fn cut_log(&mut self) {
        // A server that has just begun has no entry of its own yet to tell a cut from a loss.
        if self.now().0 < 1_006_000 {
            return;
        }
        let key = Key::Log(Nsp::new("/"));
        let read = |node: &Node| node.server.cursors(false).into_iter().find(|(other, _)| *other == key);
        let positions = self.nodes.iter().map(|node| read(node).map(|(_, position)| position));
        let Some(min) = positions.collect::<Option<Vec<Offset>>>().and_then(|all| all.into_iter().min()) else {
            return;
        };
        self.say(|| format!("others cut the log off before {min}"));
        self.meddle(Command::XTrim { key, min });
        self.cuts += 1;
    }

    /// Nobody has lost a client for it.
    pub(super) fn judge_cuts(&self) -> Result<(), String> {
        let holes: u64 = self.nodes.iter().map(|node| node.server.metrics().log_holes.get()).sum();
        match self.kind == Kind::Cuts && holes > 0 {
            true => Err(format!("{holes} holes were seen after {} cuts", self.cuts)),
            false => Ok(()),
        }
    }
}

impl Fact {
    fn number(&self) -> Option<u64> {
        match self {
            Fact::Event(n, _) => Some(*n),
            Fact::Join(..) | Fact::Kick(_) => None,
        }
    }
}
