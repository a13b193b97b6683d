//! The clients of the simulated cluster: how they come, what they hear and how it is judged, how they go.

use super::*;

impl Cluster {
    pub(super) fn connect(&mut self, i: usize, k: usize) -> Result<(), String> {
        self.unsure_if_unsaved(i);
        if let Some((_, session)) = self.session(i) {
            session.was_kept = session.kept;
        }
        let (now, polling) = (self.now(), self.below(4) == 0);
        if let Some(line) = self.peers[i].0.line.take() {
            self.ghosts.push(line);
        }
        self.peers[i].0.connected = false;
        if self.is_frozen(k) {
            return Ok(());
        }
        let transport = if polling { Transport::Polling } else { Transport::WebSocket };
        let Some(line) = self.open(k, transport) else { return Ok(()) };
        let line = Line::new(line, polling);
        let peer = &self.peers[i].0;
        let packet = peer.connect_packet(peer.offset.as_deref(), peer.pid.as_deref());
        self.say(|| format!("{i} connects to node {k} with {packet}"));
        line.send(now, &packet);
        let wanted = peer.pid.clone();
        self.peers[i] = (Peer { line: Some(line), ..std::mem::take(&mut self.peers[i].0) }, k, wanted);
        match self.below(4) {
            0 => Ok(()),
            _ => {
                for _ in 0..3 {
                    self.write(k, 6);
                    self.read(k);
                }
                self.deliver(i, 10)
            }
        }
    }

    /// A client that moves while its server has not yet written what it must know.
    fn unsure_if_unsaved(&mut self, i: usize) {
        let sid = self.peers[i].0.pid.as_ref().and_then(|pid| self.sids.get(pid)).cloned().unwrap_or_default();
        if let Some(session) = self.sessions.get_mut(&sid) {
            session.unsure |= session.pending.load(Ordering::Relaxed) > 0;
        }
    }

    pub fn open(&self, k: usize, transport: Transport) -> Option<Arc<Connection>> {
        let headers = crate::codec::http::parse(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", 9).unwrap().headers;
        let handshake = Handshake { headers, url: "/socket.io/?EIO=4".into(), address: "::1".into() };
        self.nodes[k].server.open(self.now(), transport, false, handshake).ok()
    }

    pub(super) fn deliver(&mut self, i: usize, most: usize) -> Result<(), String> {
        let now = self.now();
        let k = self.peers[i].1;
        let frozen = self.is_frozen(k);
        let Some(line) = &mut self.peers[i].0.line else { return Ok(()) };
        let open = frozen || line.pump(now);
        for _ in 0..most {
            self.peers[i].0.asleep = frozen;
            for heard in self.peers[i].0.arrive(now)? {
                self.hear(i, heard)?;
            }
        }
        let drained = self.peers[i].0.line.as_ref().is_some_and(|line| line.coming.is_empty());
        if !open && drained {
            self.say(|| format!("{i} sees its transport close"));
            self.peers[i].0.line = None;
            self.peers[i].0.connected = false;
        }
        Ok(())
    }

    fn session(&mut self, i: usize) -> Option<(&str, &mut Session)> {
        let sid = self.sids.get(self.peers[i].0.pid.as_ref()?)?;
        self.sessions.get_mut(sid).map(|session| (sid.as_str(), session))
    }

    fn hear(&mut self, i: usize, heard: Heard) -> Result<(), String> {
        self.say(|| format!("{i} hears {heard:?}"));
        self.notice();
        let now = self.now().0;
        match heard {
            Heard::Connected { sid, pid, before } => self.judge(i, &sid, &pid, before)?,
            Heard::Removed => {
                if let Some((_, session)) = self.session(i) {
                    session.over = true;
                }
            }
            Heard::Logged(n) => {
                let sid = self.session(i).ok_or("event without session")?.0.to_owned();
                let expected = self.expected(&sid);
                let session = self.sessions.get_mut(&sid).ok_or("no session")?;
                session.got.push(n);
                let got = session.got.clone();
                let in_order = self.sure(&expected).starts_with(&self.sure(&got));
                if !in_order && self.kind == Kind::Flushes {
                    // It must end before long.
                    self.sessions.entry(sid).and_modify(|session| session.gap = true);
                    self.say(|| format!("{i} has a gap: {got:?}, should get {expected:?}"));
                } else if !in_order {
                    self.say_log();
                    return Err(format!("{i} ({sid}) got {got:?}, should get {expected:?}"));
                }
            }
            Heard::Acked(n) => {
                let got = self.session(i).map(|(_, session)| session.got.contains(&n));
                if got != Some(true) && self.kind != Kind::Flushes && !self.refused.contains(&n) {
                    return Err(format!("the ack of {n} overtook what its handler emitted"));
                }
            }
            Heard::Pinged => {
                let k = self.peers[i].1;
                let id = self.session(i).map(|(sid, _)| SocketId::from_record(sid));
                let heard = id.is_some_and(|id| self.nodes[k].server.of("/").socket(&id).is_some());
                if let Some((_, session)) = self.session(i).filter(|_| heard) {
                    session.proved = now;
                }
            }
            Heard::Passing(_) | Heard::Asked(_) => {}
        }
        Ok(())
    }

    /// The client was let in: with its session, or with good reason as a new one.
    fn judge(&mut self, i: usize, sid: &str, pid: &str, before: Option<String>) -> Result<(), String> {
        let (now, k) = (self.now().0, self.peers[i].1);
        if before.as_deref() == Some(pid) {
            let (sid, session) = self.session(i).ok_or("unknown session")?;
            let (sid, over) = (sid.to_owned(), (session.over && !session.unsure) || session.gap);
            // One that was kicked is kicked again as soon as its new server has read that far.
            // After a flush it takes a moment until the servers notice.
            return match over && !self.is_kicked(&sid) && self.kind != Kind::Flushes {
                true => Err(format!("{sid} came back to life")),
                false => Ok(()),
            };
        }
        self.sids.insert(pid.to_owned(), sid.to_owned());
        let stale = self.peers[i].0.offset.clone();
        self.sessions.entry(sid.to_owned()).and_modify(|session| session.stale = stale.clone());
        let Some(old) = before.and_then(|pid| self.sids.get(&pid).cloned()) else { return Ok(()) };
        let kicked = self.is_kicked(&old);
        let given_up = Refused::ALL.iter().position(|r| *r == Refused::LogUnavailable).unwrap();
        let unavailable = self.nodes[k].server.metrics().recoveries_refused[given_up].get() > 0;
        // Taken again and again from one that looks alive.
        let lately = |at: Time| now.saturating_sub(at.0) < 60_000;
        let refused = self.nodes[k].server.metrics().last_refused();
        let fights = |reason| matches!(reason, Refused::Shared | Refused::Contested);
        let shared = refused.iter().any(|refused| fights(refused.reason) && lately(refused.at));
        let offset = self.peers[i].0.offset.as_deref().and_then(Offset::from_wire).map_or(0, |offset| offset.ms);
        let flushes = matches!(self.kind, Kind::Flushes | Kind::Losses | Kind::BelievesOffsets | Kind::Cuts);
        let Some(session) = self.sessions.get_mut(&old) else { return Ok(()) };
        // It has got nothing yet, and an offset that the log did not know when it came: nobody can tell what that means now.
        let unclear = session.stale.is_some()
            && session.stale == stale
            && stale.as_deref().and_then(Offset::from_wire) > Some(session.since);
        // What its former server still did after the client had come back counts for nothing, and the server was told so.
        let unsaved = session.pending.load(Ordering::Relaxed) > 0;
        let reason = session.over
            || unclear
            || unsaved
            || session.unsure
            || kicked
            || !session.was_kept
            || unavailable
            || shared
            || flushes
            || now.saturating_sub(session.proved.max(offset)) > WINDOW
            || now.saturating_sub(session.proved) > WINDOW + 2 * 45_000 + 15_000;
        session.over = true;
        if !reason {
            self.say_log();
            let why = self.nodes[k].server.metrics().last_refused().first().map(|refused| refused.reason);
            return Err(format!("{i} ({old}) was refused without reason: {why:?}"));
        }
        Ok(())
    }

    pub(super) fn cut(&mut self, i: usize) -> Result<(), String> {
        let arrives = self.below(6);
        self.deliver(i, arrives)?;
        self.unsure_if_unsaved(i);
        let (noticed, frozen, now) = (self.below(3) > 0, self.is_frozen(self.peers[i].1), self.now());
        let Some(mut line) = self.peers[i].0.line.take() else { return Ok(()) };
        self.say(|| format!("{i} is cut, noticed: {noticed}"));
        line.coming.clear();
        self.peers[i].0.connected = false;
        match noticed && !frozen {
            true => line.close(now),
            false => self.ghosts.push(line),
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, i: usize) {
        if !self.peers[i].0.connected || self.is_frozen(self.peers[i].1) {
            return;
        }
        if let Some(line) = self.peers[i].0.line.take() {
            self.say(|| format!("{i} leaves on purpose"));
            line.send(self.now(), "41");
            // The server may have given it up before; or its word may not be in the log when it dies.
            if let Some((_, session)) = self.session(i) {
                session.over = true;
                session.unsure = true;
            }
            self.peers[i].0.connected = false;
        }
    }

    /// Sessions that the servers have made or given back.
    pub(super) fn notice(&mut self) {
        let now = self.now().0;
        for k in 0..3 {
            for (sid, position, pending) in std::mem::take(&mut *lock(&self.nodes[k].joined)) {
                let new = || Session {
                    since: position,
                    first: self.flushed,
                    kept: false,
                    was_kept: false,
                    got: Vec::new(),
                    proved: now,
                    over: false,
                    unsure: false,
                    gap: false,
                    stale: None,
                    pending: pending.clone(),
                };
                let session = self.sessions.entry(sid).or_insert_with(new);
                session.unsure |=
                    session.pending.load(Ordering::Relaxed) > 0 && !Arc::ptr_eq(&session.pending, &pending);
                session.pending = pending.clone();
            }
        }
    }
}
