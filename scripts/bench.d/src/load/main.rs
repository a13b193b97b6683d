//! The load of scripts/bench. Drives one server, or two that share a Redis, checks every byte that comes back, and prints what the servers
//! spent, as one line of JSON.

mod crowd;
mod echo;
mod groups;
mod message;
mod meter;
mod polling;
mod process;
mod wire;

use message::{Message, Offset};
use process::Cpu;
use serde_json::{Value, json};
use std::error::Error;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;
use wire::Wire;

pub type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str =
    "usage: load KIND --port N[,N] --pid N[,N] [--redis PID] [--clients N] [--flight N] [--bytes N] [--rooms N] \
                     [--idle N] [--spare ROOMS] [--namespaces N] [--pace SECONDS] [--warm SECONDS] [--time SECONDS] [--recovery]
  KIND: echo, ack, object, binary, polling, broadcast, rooms, cluster, idle, connect, peak";
/// Handshakes under way at once.
const OPENING: usize = 32;
/// Clients that are there before memory is first looked at.
const FIRST_CLIENTS: usize = 100;
/// What a server allocates for a moment is given back by then.
pub const SETTLED: Duration = Duration::from_secs(1);

/// socketioxide answers CONNECT before its handlers are there, and drops what comes before them; so every server is given time.
pub const READY: Duration = Duration::from_millis(200);

/// What is to be done.
pub struct Plan {
    pub ports: Vec<u16>,
    pub pids: Vec<u32>,
    pub redis: Option<u32>,
    pub clients: usize,
    pub flight: usize,
    pub bytes: usize,
    pub rooms: usize,
    pub idle: usize,
    pub spare: usize,
    pub namespaces: usize,
    pub pace: Duration,
    pub warm: Duration,
    pub time: Duration,
    pub recovery: bool,
}

impl Plan {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Plan, Failure> {
        let mut plan = Plan {
            ports: Vec::new(),
            pids: Vec::new(),
            redis: None,
            clients: 64,
            flight: 1,
            bytes: 64,
            rooms: 1,
            idle: 0,
            spare: 0,
            namespaces: 0,
            pace: Duration::ZERO,
            warm: Duration::from_millis(500),
            time: Duration::from_secs(1),
            recovery: false,
        };
        while let Some(name) = args.next() {
            if name == "--recovery" {
                plan.recovery = true;
                continue;
            }
            let value = args.next().ok_or(USAGE)?;
            match name.as_str() {
                "--port" => plan.ports = list(&value)?,
                "--pid" => plan.pids = list(&value)?,
                "--redis" => plan.redis = Some(value.parse()?),
                "--clients" => plan.clients = value.parse()?,
                "--flight" => plan.flight = value.parse()?,
                "--bytes" => plan.bytes = value.parse()?,
                "--rooms" => plan.rooms = value.parse()?,
                "--idle" => plan.idle = value.parse()?,
                "--spare" => plan.spare = value.parse()?,
                "--namespaces" => plan.namespaces = value.parse()?,
                "--pace" => plan.pace = Duration::from_secs_f64(value.parse()?),
                "--warm" => plan.warm = Duration::from_secs_f64(value.parse()?),
                "--time" => plan.time = Duration::from_secs_f64(value.parse()?),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(plan)
    }

    /// The server, or the first of two.
    pub fn port(&self) -> Result<u16, Failure> {
        Ok(*self.ports.first().ok_or(USAGE)?)
    }
}

fn list<T: FromStr<Err: Error + Send + Sync + 'static>>(text: &str) -> Result<Vec<T>, Failure> {
    Ok(text.split(',').map(str::parse).collect::<Result<_, _>>()?)
}

async fn load(kind: &str, plan: &Plan) -> Result<Value, Failure> {
    let offset = if plan.recovery { Offset::Always } else { Offset::Never };
    match kind {
        "echo" => echo::run(plan, Message::echo(plan.bytes, offset)).await,
        "ack" => echo::run(plan, Message::ack(plan.bytes)).await,
        "object" => echo::run(plan, Message::object(offset)).await,
        "binary" => echo::run(plan, Message::binary(plan.bytes)).await,
        "polling" => echo::polling(plan, Message::echo(plan.bytes, offset)).await,
        "broadcast" => groups::broadcast(plan, offset).await,
        "rooms" => groups::rooms(plan, offset).await,
        "cluster" => groups::cluster(plan).await,
        "idle" => idle(plan).await,
        "connect" => connect(plan).await,
        "peak" => crowd::peak(plan).await,
        _ => Err(USAGE.into()),
    }
}

/// So many clients, connected and kept.
pub async fn open(port: u16, count: usize) -> Result<Vec<Wire>, Failure> {
    let mut opening = JoinSet::new();
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        if opening.len() == OPENING
            && let Some(client) = opening.join_next().await
        {
            clients.push(client??);
        }
        opening.spawn_local(Wire::open(port));
    }
    while let Some(client) = opening.join_next().await {
        clients.push(client??);
    }
    Ok(clients)
}

/// Resident memory per client that does nothing.
async fn idle(plan: &Plan) -> Result<Value, Failure> {
    let first = open(plan.port()?, FIRST_CLIENTS).await?;
    sleep(SETTLED).await;
    let before = meter::memory(plan)?;
    let clients = open(plan.port()?, plan.clients).await?;
    sleep(SETTLED).await;
    let bytes = (meter::memory(plan)? - before) / clients.len() as f64;
    drop((first, clients));
    Ok(json!({ "operations": plan.clients, "memory": bytes / 1024.0 }))
}

/// Processor time per client that connects.
async fn connect(plan: &Plan) -> Result<Value, Failure> {
    drop(open(plan.port()?, plan.clients).await?);
    sleep(SETTLED).await;
    let before = Cpu::read(&plan.pids)?;
    let clients = open(plan.port()?, plan.clients).await?;
    let cpu = Cpu::read(&plan.pids)?.since(&before) / clients.len() as f64;
    Ok(json!({ "operations": plan.clients, "cpu": cpu }))
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_default();
    let result = Plan::read(args).and_then(|plan| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, load(&kind, &plan))
    });
    match result {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load {kind}: {error}");
            ExitCode::FAILURE
        }
    }
}
