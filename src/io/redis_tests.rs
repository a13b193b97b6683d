//! The commands' connection against a Redis that a test plays.

use super::*;
use crate::io::clock;
use crate::server::Options;
use crate::server::entry::{Posted, Target};
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// The words of the next command. Not a byte behind it is read.
async fn words(stream: &mut TcpStream, decoder: &mut Decoder) -> Vec<String> {
    let words = loop {
        let byte = Bytes::from(vec![stream.read_u8().await.unwrap()]);
        match decoder.next(&byte, &mut 0).unwrap() {
            Some(Value::Array(words)) => break words,
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    };
    let text = |word: Value| match word {
        Value::Bulk(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        other => panic!("{other:?}"),
    };
    words.into_iter().map(text).collect()
}

fn decoder() -> Decoder {
    Decoder::new(Bounds { bulk: 10_000, reply: 10_000, depth: 2, elements: 100 })
}

/// Nothing else is sent meanwhile that would wake the writer.
#[test]
fn what_was_under_way_goes_out_again_right_after_the_look_ups() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let redis = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = RedisOptions {
            host: "127.0.0.1".into(),
            port: redis.local_addr().unwrap().port(),
            username: String::new(),
            password: String::new(),
            names: Names { streams: "socket.io".into(), sessions: "sio:session:".into() },
        };
        let random = Arc::new(|bytes: &mut [u8]| bytes.fill(7));
        let streams = RedisStreams::new(options, &Limits::default(), clock(), None);
        let server = Server::new(Options::default(), Arc::new(streams.clone()), clock(), random);
        for nsp in ["/a", "/b"] {
            let entry = Entry::Broadcast { to: Target::default(), name: "x".into(), args: 1.into() };
            let posted = Arc::new(Posted { uid: "me".into(), seq: 1, entry });
            let command = Command::XAdd { key: Key::Log(crate::id::Nsp::new(nsp)), posted, create: true };
            streams.submit(Time(1), command, None).unwrap();
        }
        let kept = tokio::spawn(streams.keep_commands(server, None));
        let (mut first, mut read) = (redis.accept().await.unwrap().0, decoder());
        for key in ["socket.io#/a#", "socket.io#/b#"] {
            assert_eq!(words(&mut first, &mut read).await[..2], ["XADD", key]);
        }
        drop(first);
        let (mut second, mut read) = (redis.accept().await.unwrap().0, decoder());
        for key in ["socket.io#/a#", "socket.io#/b#"] {
            let look = timeout(CONNECT, words(&mut second, &mut read)).await.expect("nothing is sent");
            assert_eq!((look[0].as_str(), look[4].as_str()), ("XREAD", key));
            second.write_all(b"*-1\r\n").await.unwrap();
        }
        for key in ["socket.io#/a#", "socket.io#/b#"] {
            let again = timeout(CONNECT, words(&mut second, &mut read)).await.expect("nothing is sent");
            assert_eq!(again[..2], ["XADD", key]);
        }
        kept.abort();
    });
}
