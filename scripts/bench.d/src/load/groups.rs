//! Groups of clients: one sends, all of its group receive, and the next message goes out when every one of them has it.

use crate::crowd;
use crate::echo::Sent;
use crate::message::{Message, Offset, PROBE, Received};
use crate::meter::Meter;
use crate::wire::Wire;
use crate::{Failure, Plan, READY, open};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

/// Two servers of a cluster know each other by then.
const MOST_PROBING: Duration = Duration::from_secs(20);

/// What the clients of one group share.
struct Group {
    message: Message,
    size: usize,
    sent: RefCell<Sent>,
    /// How many have each message that is under way.
    have: RefCell<HashMap<u64, usize>>,
    /// Rings when all have one.
    bell: Notify,
    meter: Rc<Meter>,
}

impl Group {
    fn new(message: Message, size: usize, meter: &Rc<Meter>) -> Rc<Group> {
        let (sent, have) = (RefCell::default(), RefCell::default());
        Rc::new(Group { message, size, sent, have, bell: Notify::new(), meter: meter.clone() })
    }

    /// Takes the messages that have arrived.
    fn receive(&self, wire: &mut Wire, received: &mut Received) -> Result<(), Failure> {
        while let Some(number) = self.message.receive(wire)? {
            self.meter.done(received.take(number)?);
            let mut have = self.have.borrow_mut();
            let count = have.entry(number).or_default();
            *count += 1;
            if *count == self.size {
                have.remove(&number);
                self.meter.took(self.sent.borrow_mut().back(number)?);
                self.bell.notify_one();
            }
        }
        Ok(())
    }
}

/// Receives until it is ended from outside.
fn receiver(mut wire: Wire, group: Rc<Group>) -> JoinHandle<()> {
    spawn_local(async move {
        let mut received = Received::default();
        let receiving = async {
            loop {
                wire.flush().await?;
                wire.read().await?;
                group.receive(&mut wire, &mut received)?;
            }
        };
        let ended: Result<(), Failure> = receiving.await;
        if let Err(failure) = ended {
            group.meter.fail(failure);
        }
    })
}

async fn sender(
    mut wire: Wire,
    group: Rc<Group>,
    receivers: Vec<JoinHandle<()>>,
    flight: usize,
) -> Result<(), Failure> {
    let mut received = Received::default();
    loop {
        let waiting = {
            let mut sent = group.sent.borrow_mut();
            while sent.waiting() < flight && !group.meter.stopping() {
                group.message.send(&mut wire, sent.next());
            }
            sent.waiting()
        };
        if waiting == 0 {
            break;
        }
        wire.flush().await?;
        tokio::select! {
            read = wire.read() => {
                read?;
                group.receive(&mut wire, &mut received)?;
            }
            () = group.bell.notified() => {}
        }
    }
    for receiver in receivers {
        receiver.abort();
    }
    Ok(())
}

/// All clients of the server are one group.
pub async fn broadcast(plan: &Plan, offset: Offset) -> Result<Value, Failure> {
    let meter = Rc::new(Meter::default());
    let group = Group::new(Message::broadcast(plan.bytes, offset), plan.clients, &meter);
    let clients = open(plan.port()?, plan.clients).await?;
    sleep(READY).await;
    let mut tasks = JoinSet::new();
    start(clients, group, plan, &mut tasks)?;
    meter.run(plan, tasks).await
}

/// Each group is a room.
pub async fn rooms(plan: &Plan, offset: Offset) -> Result<Value, Failure> {
    let (meter, mut tasks) = (Rc::new(Meter::default()), JoinSet::new());
    let size = plan.clients / plan.rooms;
    let mut clients = open(plan.port()?, plan.rooms * size).await?;
    let _crowd = crowd::gather(plan).await?;
    sleep(READY).await;
    for room in 0..plan.rooms {
        // Two loads on one server have nothing to do with each other.
        let name = format!("room-{}-{room}", std::process::id());
        let mut members = clients.split_off(clients.len() - size);
        for member in &mut members {
            join(member, &name).await?;
        }
        let group = Group::new(Message::room(&name, plan.bytes, offset), size, &meter);
        start(members, group, plan, &mut tasks)?;
    }
    meter.run(plan, tasks).await
}

/// One of them sends, and all of them receive.
fn start(
    mut clients: Vec<Wire>,
    group: Rc<Group>,
    plan: &Plan,
    tasks: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    let sending = clients.pop().ok_or("a group of nobody")?;
    let receivers = clients.into_iter().map(|wire| receiver(wire, group.clone())).collect();
    tasks.spawn_local(sender(sending, group, receivers, plan.flight));
    Ok(())
}

/// The sender is on the first server, and the room on the second.
pub async fn cluster(plan: &Plan) -> Result<Value, Failure> {
    let &[here, there] = plan.ports.as_slice() else { return Err("a cluster has two ports".into()) };
    let meter = Rc::new(Meter::default());
    let group = Group::new(Message::room("far", plan.bytes, Offset::Either), plan.clients, &meter);
    let mut sending = Wire::open(here).await?;
    let mut members = open(there, plan.clients).await?;
    sleep(READY).await;
    for member in &mut members {
        join(member, "far").await?;
    }
    timeout(MOST_PROBING, probe(&mut sending, &mut members))
        .await
        .map_err(|_| "the servers don't find each other")??;
    let receivers = members.into_iter().map(|wire| receiver(wire, group.clone())).collect();
    let mut tasks = JoinSet::new();
    tasks.spawn_local(sender(sending, group, receivers, plan.flight));
    meter.run(plan, tasks).await
}

/// Sends until every member has got something: nothing is promised before servers know each other.
async fn probe(sending: &mut Wire, members: &mut [Wire]) -> Result<(), Failure> {
    let arrived = async {
        for member in members {
            member.expect(PROBE).await?;
        }
        Ok::<_, Failure>(())
    };
    let sent = async {
        loop {
            sending.text(br#"42["room","far","probe"]"#);
            sending.flush().await?;
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        arrived = arrived => arrived,
        sent = sent => sent,
    }
}

pub async fn join(wire: &mut Wire, room: &str) -> Result<(), Failure> {
    wire.text(format!("421[\"join\",\"{room}\"]").as_bytes());
    wire.flush().await?;
    wire.expect(b"431[").await
}
