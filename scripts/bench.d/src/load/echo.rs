//! Clients that each keep some messages in flight; every one comes back to its sender, over a WebSocket or over long-polling.

use crate::crowd;
use crate::message::{Message, Received};
use crate::meter::Meter;
use crate::polling::Polling;
use crate::wire::Wire;
use crate::{Failure, Plan, READY, open};
use serde_json::Value;
use std::collections::VecDeque;
use std::rc::Rc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, interval_at, sleep};

pub async fn run(plan: &Plan, message: Message) -> Result<Value, Failure> {
    let (meter, mut tasks) = (Rc::new(Meter::default()), JoinSet::new());
    let clients = open(plan.port()?, plan.clients).await?;
    let _crowd = crowd::gather(plan).await?;
    sleep(READY).await;
    for (number, mut wire) in clients.into_iter().enumerate() {
        let mut message = message.clone();
        if plan.namespaces > 0 {
            let nsp = format!("/n{}", number % plan.namespaces);
            wire.join(&nsp).await?;
            message = message.of(&nsp);
        }
        let begin = Instant::now() + plan.pace.mul_f64(number as f64 / plan.clients as f64);
        let turns = (!plan.pace.is_zero()).then(|| interval_at(begin, plan.pace));
        tasks.spawn_local(client(wire, message, plan.flight, turns, meter.clone()));
    }
    meter.run(plan, tasks).await
}

async fn client(
    mut wire: Wire,
    message: Message,
    flight: usize,
    mut turns: Option<Interval>,
    meter: Rc<Meter>,
) -> Result<(), Failure> {
    let (mut received, mut sent) = (Received::default(), Sent::default());
    loop {
        if let Some(turns) = &mut turns
            && sent.waiting() == 0
        {
            turns.tick().await;
        }
        while sent.waiting() < flight && !meter.stopping() {
            message.send(&mut wire, sent.next());
        }
        if sent.waiting() == 0 {
            return Ok(());
        }
        // All that one read has brought is answered in one write.
        wire.flush().await?;
        wire.read().await?;
        while let Some(number) = message.receive(&mut wire)? {
            let ordered = received.take(number)?;
            meter.took(sent.back(number)?);
            meter.done(ordered);
        }
    }
}

/// When the messages went out that are still waited for.
#[derive(Default)]
pub struct Sent {
    first: u64,
    times: VecDeque<Option<Instant>>,
    waiting: usize,
}

impl Sent {
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The number of the next message, which goes out now.
    pub fn next(&mut self) -> u64 {
        self.times.push_back(Some(Instant::now()));
        self.waiting += 1;
        self.first + self.times.len() as u64 - 1
    }

    /// This one is back; when it went out.
    pub fn back(&mut self, number: u64) -> Result<Instant, Failure> {
        let place = number.checked_sub(self.first).and_then(|at| self.times.get_mut(at as usize));
        let time = place.and_then(Option::take).ok_or_else(|| format!("message {number} was not waited for"))?;
        self.waiting -= 1;
        while let Some(None) = self.times.front() {
            self.times.pop_front();
            self.first += 1;
        }
        Ok(time)
    }
}

/// The same over long-polling, one message at a time: a GET always waits, and each message is a POST.
pub async fn polling(plan: &Plan, message: Message) -> Result<Value, Failure> {
    let (meter, mut tasks) = (Rc::new(Meter::default()), JoinSet::new());
    let mut clients = Vec::new();
    for _ in 0..plan.clients {
        clients.push(Polling::open(plan.port()?).await?);
    }
    sleep(READY).await;
    for client in clients {
        tasks.spawn_local(poller(client, message.clone(), meter.clone()));
    }
    meter.run(plan, tasks).await
}

async fn poller(mut client: Polling, message: Message, meter: Rc<Meter>) -> Result<(), Failure> {
    for number in 0.. {
        if meter.stopping() {
            break;
        }
        let sent = Instant::now();
        let packet = client.exchange(&message.text(number)).await?;
        if message.number(packet.as_bytes()) != Some(number) {
            return Err(format!("got {packet} for {}", message.text(number)).into());
        }
        meter.took(sent);
        meter.done(true);
    }
    Ok(())
}
