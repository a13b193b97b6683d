//! The commands' connection against a Redis that a test plays.

use super::link::ELEMENTS;
use super::*;
use crate::id::Offset;
use crate::io::clock;
use crate::server::Options;
use crate::server::log::entry::{Posted, Target};
use crate::server::redis::resp::Bounds;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// The words of the next command. Not a byte behind it is read.
async fn words(stream: &mut TcpStream, decoder: &mut Decoder) -> Vec<String> {
    while !decoder.next(&[stream.read_u8().await.unwrap()], &mut 0).unwrap() {}
    let Value::Array(words) = decoder.reply() else { panic!("{:?}", decoder.reply()) };
    let text = |word| match word {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    words.map(text).collect()
}

fn decoder() -> Decoder {
    Decoder::new(Bounds { bulk: 10_000, reply: 10_000, depth: 2, elements: 100 })
}

/// A log in a Redis that the test plays, and its server.
async fn begin() -> (TcpListener, RedisStreams, Server) {
    let redis = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = redis.local_addr().unwrap().port();
    let options = RedisOptions { host: "127.0.0.1".into(), port, ..RedisOptions::default() };
    let random = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
    let streams = RedisStreams::new(options, &Limits::default(), clock(), None);
    let server = Server::new(Options::default(), Arc::new(streams.clone()), clock(), random);
    (redis, streams, server)
}

fn key(nsp: &str) -> Key {
    Key::Log(crate::id::Nsp::new(nsp))
}

fn append(nsp: &str) -> Command {
    let entry = Entry::Broadcast { to: Target::default(), name: "x".into(), args: 1.into() };
    Command::XAdd { key: key(nsp), posted: Arc::new(Posted { uid: "me".into(), seq: 1, entry }), create: true }
}

/// The next connection, after the question that begins each.
async fn accept(redis: &TcpListener) -> (TcpStream, Decoder) {
    let (mut stream, mut read) = (redis.accept().await.unwrap().0, decoder());
    let question = words(&mut stream, &mut read).await;
    assert_eq!(question[..3], ["XADD", "socket.io#question#", "NOMKSTREAM"]);
    stream.write_all(b"$-1\r\n").await.unwrap();
    (stream, read)
}

async fn soon(stream: &mut TcpStream, decoder: &mut Decoder) -> Vec<String> {
    timeout(CONNECT, words(stream, decoder)).await.expect("nothing is sent")
}

/// Nothing else is sent meanwhile that would wake the writer.
#[test]
fn what_was_under_way_goes_out_again_right_after_the_look_ups() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (redis, streams, server) = begin().await;
        for nsp in ["/a", "/b"] {
            streams.submit(Time(1), append(nsp), None).unwrap();
        }
        let kept = tokio::spawn(streams.keep_commands(server, None));
        let (mut first, mut read) = accept(&redis).await;
        for key in ["socket.io#/a#", "socket.io#/b#"] {
            assert_eq!(words(&mut first, &mut read).await[..2], ["XADD", key]);
        }
        drop(first);
        let (mut second, mut read) = accept(&redis).await;
        for key in ["socket.io#/a#", "socket.io#/b#"] {
            let look = soon(&mut second, &mut read).await;
            assert_eq!((look[0].as_str(), look[4].as_str()), ("XREAD", key));
            second.write_all(b"*-1\r\n").await.unwrap();
        }
        for key in ["socket.io#/a#", "socket.io#/b#"] {
            let again = soon(&mut second, &mut read).await;
            assert_eq!(again[..2], ["XADD", key]);
        }
        kept.abort();
    });
}

/// The same reply would come to the same question for ever.
#[test]
fn a_read_whose_reply_is_too_large_is_given_up() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (redis, streams, server) = begin().await;
        let heard = Arc::new(Mutex::new(None));
        let hears = heard.clone();
        let done: Done = Box::new(move |reply| *lock(&hears) = Some(format!("{reply:?}")));
        let read = Command::XRead { key: key("/a"), after: Offset::ZERO, count: 9 };
        streams.submit(Time(1), read, Some(done)).unwrap();
        streams.submit(Time(1), append("/a"), None).unwrap();
        let kept = tokio::spawn(streams.keep_commands(server, None));
        let look = ["XREAD", "COUNT", "100", "STREAMS", "socket.io#/a#", "0-0"];
        for (connection, want) in [
            &[&["XREAD", "COUNT", "9"][..], &["XADD"]][..],
            // The append is looked up, and its look-up is too large as well.
            &[&look],
            &[&["XREAD", "COUNT", "50"]],
        ]
        .into_iter()
        .enumerate()
        {
            let (mut stream, mut read) = accept(&redis).await;
            for words in want {
                let got = soon(&mut stream, &mut read).await;
                assert_eq!(&got[..words.len()], *words, "connection {connection}");
            }
            match connection {
                2 => {
                    stream.write_all(b"*-1\r\n").await.unwrap();
                    assert_eq!(soon(&mut stream, &mut read).await[0], "XADD");
                }
                _ => stream.write_all(format!("*{}\r\n", ELEMENTS + 1).as_bytes()).await.unwrap(),
            }
        }
        assert_eq!(lock(&heard).as_deref(), Some("Failed(Unavailable)"));
        kept.abort();
    });
}

/// What a server announces: where it listens; where that is every address, what it has towards Redis, and on a Unix socket this machine's own.
#[test]
fn where_others_reach_a_server() {
    for (listens, local, want) in [
        ("0.0.0.0:3000", Some("10.0.0.5"), "10.0.0.5:3000"),
        ("[::]:3000", Some("10.0.0.5"), "10.0.0.5:3000"),
        ("127.0.0.2:3000", Some("127.0.0.1"), "127.0.0.2:3000"),
        ("192.0.2.1:3000", Some("10.0.0.5"), "192.0.2.1:3000"),
        ("0.0.0.0:3000", None, "127.0.0.1:3000"),
        ("192.0.2.1:3000", None, "192.0.2.1:3000"),
    ] {
        let local = local.map(|ip| ip.parse().unwrap());
        assert_eq!(announced(listens.parse().unwrap(), local).to_string(), want);
    }
}

/// Redis's own words, once for each kind, and nobody else waits for what was refused.
#[test]
fn refusals_are_told_once_and_hold_nobody_up() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let redis = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = redis.local_addr().unwrap().port();
        let options = RedisOptions { host: "127.0.0.1".into(), port, ..RedisOptions::default() };
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        let log: Log = Arc::new(move |notice: &Notice| lock(&kept).push(notice.to_string()));
        let streams = RedisStreams::new(options, &Limits::default(), clock(), Some(log));
        let random = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
        let server =
            Server::new(Options { log: None, ..Options::default() }, Arc::new(streams.clone()), clock(), random);
        let heard = Arc::new(Mutex::new(Vec::new()));
        for n in 0..4 {
            let hears = heard.clone();
            let done: Done = Box::new(move |reply| lock(&hears).push(format!("{n} {reply:?}")));
            streams.submit(Time(1), append("/a"), Some(done)).unwrap();
        }
        let kept = tokio::spawn(streams.clone().keep_commands(server, None));
        let (mut stream, mut read) = accept(&redis).await;
        for reply in
            ["-WRONGTYPE Operation against a key", "$3\r\n1-1", "-WRONGTYPE Operation against a key", "-NOPERM no"]
        {
            assert_eq!(soon(&mut stream, &mut read).await[0], "XADD");
            stream.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
        }
        while lock(&heard).len() < 4 {
            sleep(Duration::from_millis(5)).await;
        }
        let want =
            ["0 Failed(Refused)", "1 Added(Some(Offset { ms: 1, seq: 1 }))", "2 Failed(Refused)", "3 Failed(Refused)"];
        assert_eq!(*lock(&heard), want);
        let refused = "[REDIS] a command on socket.io#/a# was refused: ";
        let told: Vec<String> = lock(&lines).iter().filter(|line| line.contains("refused")).cloned().collect();
        assert_eq!(told, [format!("{refused}WRONGTYPE Operation against a key"), format!("{refused}NOPERM no")]);
        kept.abort();
    });
}
