//! Clients that are only there, in many rooms perhaps, and what so many leave behind.

use crate::groups::join;
use crate::wire::Wire;
use crate::{Failure, Plan, SETTLED, meter, open};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// As many rooms as Rill lets a client be in, less those that all clients are in.
const ROOMS: usize = 900;
/// After a peak: for what is given back with a delay.
const LATER: Duration = Duration::from_secs(10);

/// `--idle` clients, who together are in `--spare` rooms of their own. A run is over before their first pong is due.
pub async fn gather(plan: &Plan) -> Result<Vec<Wire>, Failure> {
    let mut crowd = open(plan.port()?, plan.idle.max(plan.spare.div_ceil(ROOMS))).await?;
    for room in 0..plan.spare {
        let at = room / ROOMS;
        join(&mut crowd[at], &format!("spare-{room}")).await?;
    }
    Ok(crowd)
}

/// Resident memory in MiB before, with and after `--clients` clients who are in `--rooms` rooms each.
pub async fn peak(plan: &Plan) -> Result<Value, Failure> {
    let mebibytes = || meter::memory(plan).map(|bytes| bytes / 1_048_576.0);
    drop(open(plan.port()?, 10).await?);
    sleep(SETTLED).await;
    let before = mebibytes()?;
    let mut clients = open(plan.port()?, plan.clients).await?;
    for (number, client) in clients.iter_mut().enumerate() {
        for room in 0..plan.rooms {
            join(client, &format!("room-{}", (number + room) % plan.clients)).await?;
        }
    }
    let peak = mebibytes()?;
    drop(clients);
    sleep(SETTLED).await;
    let after = mebibytes()?;
    sleep(LATER).await;
    Ok(json!({ "before": before, "peak": peak, "after": after, "later": mebibytes()? }))
}
