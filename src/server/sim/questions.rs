//! Questions to all servers, asked in a cluster of three: who is there, what do clients and servers answer, who keeps silent.

use super::cluster::{Cluster, Kind};
use super::peer::Line;
use crate::codec::args::Args;
use crate::id::Room;
use crate::proto::handshake::Transport;
use crate::server::cluster::requests::Gathered;
use crate::server::lock;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Heard = Arc<Mutex<Option<Gathered>>>;

fn hears(heard: &Heard) -> impl FnOnce(Gathered) + Send + 'static {
    let heard = heard.clone();
    move |gathered| *lock(&heard) = Some(gathered)
}

/// A cluster with a client on each server, in `/`.
fn cluster() -> (Cluster, Vec<Line>) {
    let mut cluster = Cluster::new(1, Kind::Moves);
    let lines: Vec<Line> = (0..3).map(|k| Line::new(cluster.open(k, Transport::WebSocket).unwrap(), false)).collect();
    lines.iter().for_each(|line| line.send(cluster.now(), "40"));
    cluster.calm();
    (cluster, lines)
}

#[test]
fn clients_of_all_servers_are_found_and_moved() {
    let (mut cluster, lines) = cluster();
    let heard = Heard::default();
    let all = |cluster: &Cluster| cluster.server(1).of("/").all();
    all(&cluster).sockets_join(vec![Room::from("blue")]).unwrap();
    // Asked right behind: the answer knows of the join.
    all(&cluster).to("blue").fetch_sockets(hears(&heard)).unwrap();
    cluster.calm();
    let found = lock(&heard).take().unwrap();
    assert_eq!((found.sockets.len(), found.silent.len()), (3, 0));
    assert!(found.sockets.iter().all(|socket| socket.rooms.contains(&Room::from("blue"))));
    let first = lines[0].connection.sockets()[0].id().clone();
    all(&cluster).to(&first).sockets_leave(vec![Room::from("blue")]).unwrap();
    all(&cluster).to("blue").disconnect_sockets(true).unwrap();
    cluster.calm();
    let left: Vec<usize> = (0..3).map(|k| cluster.server(k).of("/").len()).collect();
    assert_eq!(left, [1, 0, 0]);
}

#[test]
fn clients_of_all_servers_answer() {
    let (mut cluster, mut lines) = cluster();
    let heard = Heard::default();
    cluster.server(2).of("/").all().timeout(Duration::from_secs(4)).emit_with_ack("q", 7, hears(&heard)).unwrap();
    cluster.calm();
    for (i, line) in lines.iter_mut().enumerate() {
        line.pump(cluster.now());
        let asked =
            line.coming.iter().find_map(|packet| packet.strip_prefix("42")?.strip_suffix(r#"["q",7]"#)).unwrap();
        if i != 1 {
            line.send(cluster.now(), &format!("43{asked}[{i}]"));
        }
    }
    cluster.calm();
    assert!(lock(&heard).is_none(), "one has not answered");
    cluster.let_pass(4_600);
    let mut gathered = lock(&heard).take().unwrap();
    gathered.answers.sort_by(|a, b| a.text().cmp(b.text()));
    let want = Gathered { answers: vec![Args::from(0), Args::from(2)], missing: 1, ..Gathered::default() };
    assert_eq!(gathered, want);
}

#[test]
fn servers_answer_each_other_and_the_silent_are_named() {
    let (mut cluster, _lines) = cluster();
    let heard = Heard::default();
    let ask = |cluster: &Cluster, heard: &Heard| {
        cluster
            .server(0)
            .of("/")
            .server_side_emit_with_ack("load", "now", Duration::from_secs(1), hears(heard))
            .unwrap();
    };
    ask(&cluster, &heard);
    cluster.calm();
    let gathered = lock(&heard).take().unwrap();
    assert_eq!((gathered.answers, gathered.silent), (vec![Args::from("load"), Args::from("load")], vec![]));
    cluster.freeze(2, 60_000);
    ask(&cluster, &heard);
    cluster.calm();
    assert!(lock(&heard).is_none());
    cluster.let_pass(1_600);
    let gathered = lock(&heard).take().unwrap();
    assert_eq!((gathered.answers, gathered.silent), (vec![Args::from("load")], vec!["node-2".to_owned()]));
    // After a while it counts as dead, and nobody waits for it.
    cluster.let_pass(12_000);
    cluster.calm();
    ask(&cluster, &heard);
    cluster.calm();
    assert_eq!(lock(&heard).take().unwrap().silent, [] as [String; 0]);
    assert_eq!(cluster.server(0).neighbours().len(), 1);
}
