//! Rooms and clients in columns, of this server and of all; lists have a bound, and say what they leave out.

use super::width;
use crate::app::report::age;
use crate::id::Time;
use crate::server::Server;
use crate::server::client::socket::Socket;
use crate::server::cluster::remote::RemoteSocket;
use crate::server::notice::visible;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::timeout;

/// Rows of a list; what is beyond is counted.
const ROWS: usize = 1_000;
/// Columns of a name in a list; clients choose names, and one that is long would push everything else away.
const WIDEST: usize = 60;
/// For other servers to answer a question, in milliseconds, and for their answers to be here.
const PATIENCE: Duration = Duration::from_millis(2_000);
const ANSWER: Duration = Duration::from_secs(4);

/// The rooms of this server.
#[must_use]
pub fn rooms(server: &Server) -> String {
    let mut rows = Vec::new();
    let mut total = 0;
    for namespace in server.namespaces() {
        let rooms = namespace.rooms();
        total += rooms.len();
        for (room, clients) in rooms.into_iter().take(ROWS - rows.len()) {
            rows.push([name(namespace.name().as_str()), name(room.as_str()), clients.to_string()]);
        }
    }
    list(ROOMS, &rows, total, "room")
}

/// The clients of this server: those that may be gone first, then those that have most waiting, then the oldest.
#[must_use]
pub fn clients(server: &Server) -> String {
    let now = server.now();
    let mut clients: Vec<Client> = server
        .namespaces()
        .iter()
        .flat_map(|namespace| namespace.all().sockets())
        .map(|socket| Client {
            overdue: socket.connection().pong_overdue(now),
            unsent: socket.connection().unsent(),
            socket,
        })
        .collect();
    let total = clients.len();
    clients.sort_by_cached_key(|client| {
        let socket = &client.socket;
        (Reverse(client.overdue), Reverse(client.unsent), socket.joined(), socket.id().clone())
    });
    clients.truncate(ROWS);
    let rows: Vec<[String; 8]> = clients.iter().map(|client| client.row(now)).collect();
    list(CLIENTS, &rows, total, "client")
}

struct Client {
    socket: Socket,
    overdue: bool,
    unsent: usize,
}

const ROOMS: [&str; 3] = ["NSP", "ROOM", "CLIENTS"];
const CLIENTS: [&str; 8] = ["NSP", "ID", "TRANSPORT", "AGE", "ROOMS", "UNSENT", "PONG", "ADDRESS"];
const CLIENTS_OF_ALL: [&str; 6] = ["SERVER", "NSP", "ID", "AGE", "ROOMS", "ADDRESS"];

impl Client {
    fn row(&self, now: Time) -> [String; 8] {
        let socket = &self.socket;
        let connection = socket.connection();
        [
            name(socket.namespace().name().as_str()),
            socket.id().to_string(),
            connection.transport().name().to_owned(),
            age(now.since(socket.joined())),
            socket.rooms().len().saturating_sub(1).to_string(),
            self.unsent.to_string(),
            if self.overdue { "overdue" } else { "ok" }.to_owned(),
            name(&connection.handshake.address),
        ]
    }
}

/// What the servers of a cluster have told.
struct Found {
    /// Each with its namespace.
    sockets: Vec<(String, RemoteSocket)>,
    /// The servers that did not answer.
    silent: Vec<String>,
}

/// Asks all servers, for all namespaces of this one.
async fn ask(server: &Server) -> Found {
    let (mut sockets, mut silent) = (Vec::new(), Vec::new());
    for namespace in server.namespaces() {
        let found = timeout(ANSWER, namespace.all().timeout(PATIENCE).fetch()).await.ok().and_then(Result::ok);
        let Some(found) = found else {
            silent.push("all servers (Redis is away)".to_owned());
            continue;
        };
        let nsp = namespace.name().as_str();
        sockets.extend(found.sockets.into_iter().map(|socket| (nsp.to_owned(), socket)));
        silent.extend(found.silent);
    }
    silent.sort();
    silent.dedup();
    Found { sockets, silent }
}

/// The clients of all servers.
pub async fn clients_of_all(server: &Server) -> String {
    let Found { sockets, silent } = ask(server).await;
    let now = server.now();
    let row = |(nsp, socket): &(String, RemoteSocket)| {
        let issued = socket.handshake.get("issued").and_then(Value::as_u64).unwrap_or(now.0);
        let address = socket.handshake.get("address").and_then(Value::as_str).unwrap_or("");
        [
            name(&socket.server()),
            name(nsp),
            name(socket.id.as_str()),
            age(now.since(Time(issued))),
            socket.rooms.len().saturating_sub(1).to_string(),
            name(address),
        ]
    };
    let rows: Vec<[String; 6]> = sockets.iter().take(ROWS).map(row).collect();
    with_silent(list(CLIENTS_OF_ALL, &rows, sockets.len(), "client"), &silent)
}

/// The rooms of all servers.
pub async fn rooms_of_all(server: &Server) -> String {
    let Found { sockets, silent } = ask(server).await;
    let mut rooms: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (nsp, socket) in sockets {
        for room in socket.rooms.iter().filter(|room| room.as_str() != socket.id.as_str()) {
            *rooms.entry((nsp.clone(), room.as_str().to_owned())).or_default() += 1;
        }
    }
    let row = |((nsp, room), clients): (&(String, String), &usize)| [name(nsp), name(room), clients.to_string()];
    let rows_shown: Vec<[String; 3]> = rooms.iter().take(ROWS).map(row).collect();
    with_silent(list(ROOMS, &rows_shown, rooms.len(), "room"), &silent)
}

fn with_silent(text: String, silent: &[String]) -> String {
    match silent {
        [] => text,
        names => format!("{text}  without those of {}: no answer in time\n", names.join(", ")),
    }
}

/// A name as it stands in a list.
fn name(text: &str) -> String {
    let mut left = WIDEST;
    let fits = |c: &char| {
        let width = width::of(*c);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    // Marks have no width, and there may be any number of them.
    let mut short: String = text.chars().take(2 * WIDEST).take_while(fits).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    visible(&short).into_owned()
}

/// Rows in columns below their headings, after their number; rows that are left out are counted.
pub(super) fn list<const N: usize>(headings: [&str; N], rows: &[[String; N]], total: usize, what: &str) -> String {
    let mut text = format!("{}\n", count(total, what));
    let headings = headings.map(str::to_owned);
    let all = || std::iter::once(&headings).filter(|_| !rows.is_empty()).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = width::width(cell).max(*width);
        }
    }
    for row in all() {
        let line = row
            .iter()
            .zip(widths)
            .fold(String::new(), |line, (cell, width)| format!("{line}  {}", width::padded(cell, width)));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    if total > rows.len() {
        let _ = writeln!(text, "  and {} more", total - rows.len());
    }
    text
}

pub(super) fn count(n: usize, what: &str) -> String {
    match (n, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(list(ROOMS, &[], 0, "room"), "0 rooms\n");
        assert_eq!(
            list(ROOMS, &[row(["/", "lobby", "1"])], 1, "room"),
            "1 room\n  NSP  ROOM   CLIENTS\n  /    lobby  1\n"
        );
        let rows = [row(["/", "lobby", "2"]), row(["/x", "wörld 😀", ""])];
        assert_eq!(
            list(ROOMS, &rows, 1_002, "room"),
            "1002 rooms\n  NSP  ROOM      CLIENTS\n  /    lobby     2\n  /x   wörld 😀\n  and 1000 more\n"
        );
    }

    /// Each cell begins in the same column, whatever stands left of it.
    #[test]
    fn wide_characters_keep_columns_straight() {
        let names = ["lobby", "日本語の部屋", "e\u{301}te\u{301}", "한국어 😀", "ห้องไทย"];
        let rows = names.map(|name| ["/".to_owned(), name.to_owned(), "7".to_owned()]);
        let text = list(ROOMS, &rows, rows.len(), "room");
        let starts: Vec<usize> = text.lines().skip(2).map(|line| width::width(line) - 1).collect();
        assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?} in {text}");
    }

    #[test]
    fn counts() {
        assert_eq!([count(1, "entry"), count(2, "entry"), count(0, "room")], ["1 entry", "2 entries", "0 rooms"]);
    }

    #[test]
    fn names() {
        assert_eq!([name("lobby"), name("a\nb")], ["lobby", "a\\nb"]);
        let sixty = "é".repeat(60);
        assert_eq!(name(&sixty), sixty);
        assert_eq!(name(&format!("{sixty}!")), format!("{sixty}…"));
        assert_eq!(name(&"語".repeat(31)), format!("{}…", "語".repeat(30)));
        assert_eq!(name(&format!("a{}", "語".repeat(30))), format!("a{}…", "語".repeat(29)));
        assert!(name(&"\u{e0041}".repeat(1_000)).len() < 1_000);
    }
}
