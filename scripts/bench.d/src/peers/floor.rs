//! What the work costs at the least in a tokio server that frames with tungstenite: `floor --port N`. A WebSocket or long-polling, the two
//! answers of the protocol written down, no JSON read, no rooms, no heartbeat, no limits; of a request only the first line and the body count.

use futures_util::{FutureExt, SinkExt, StreamExt};
use std::error::Error;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

const OPEN: &str =
    r#"0{"sid":"aaaaaaaaaaaaaaaaaaaa","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
/// The part of it that is another one for each client on polling.
const SID: &str = "aaaaaaaaaaaaaaaaaaaa";
const CONNECT: &str = r#"40{"sid":"bbbbbbbbbbbbbbbbbbbb"}"#;
/// A message that the load generator sends fits many times.
const READ_BUFFER: usize = 8 * 1024;

/// What waits for one client, and the bell of its task.
#[derive(Default)]
struct Outbox {
    waiting: Mutex<Vec<Utf8Bytes>>,
    bell: Notify,
}

impl Outbox {
    fn push(&self, text: Utf8Bytes) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(text);
        if waiting.len() == 1 {
            self.bell.notify_one();
        }
    }

    fn take(&self) -> Vec<Utf8Bytes> {
        mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type All = Arc<Mutex<Vec<Arc<Outbox>>>>;

/// Clients on polling: the session id of each is its place in the list.
static POLLING: Mutex<Vec<Arc<Outbox>>> = Mutex::new(Vec::new());

/// The answer to one message, if it is for its sender alone.
fn answer(message: Message, all: &All) -> Option<Message> {
    let Message::Text(text) = message else { return message.is_binary().then_some(message) };
    if text.starts_with(r#"42["broadcast""#) {
        for outbox in all.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            outbox.push(text.clone());
        }
        return None;
    }
    match text.split_once("[\"echo\",") {
        Some((head, argument)) => match head.strip_prefix("42").filter(|id| !id.is_empty()) {
            Some(id) => Some(Message::text(format!("43{id}[{argument}"))),
            None => Some(Message::Text(text)),
        },
        None => (text.as_str() == "40").then_some(Message::Text(Utf8Bytes::from_static(CONNECT))),
    }
}

/// Answers requests until one asks for a WebSocket; returns its key. A request arrives in one piece, as the load generator sends it.
async fn opening(stream: &mut TcpStream, all: &All) -> Option<String> {
    let mut bytes = [0; 2048];
    loop {
        let length = stream.read(&mut bytes).await.ok().filter(|length| *length > 0)?;
        let (head, body) = std::str::from_utf8(bytes.get(..length)?).ok()?.split_once("\r\n\r\n")?;
        if let Some((_, rest)) = head.split_once("Sec-WebSocket-Key: ") {
            return rest.lines().next().map(str::to_owned);
        }
        let answer = exchange(head, body, all).await?;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// The body that answers a request of long-polling.
async fn exchange(head: &str, body: &str, all: &All) -> Option<String> {
    let Some((_, sid)) = head.lines().next()?.split_once("sid=") else {
        let mut clients = POLLING.lock().unwrap_or_else(PoisonError::into_inner);
        clients.push(Arc::default());
        return Some(OPEN.replace(SID, &format!("{:020}", clients.len() - 1)));
    };
    let place: usize = sid.get(..SID.len())?.parse().ok()?;
    let outbox = POLLING.lock().unwrap_or_else(PoisonError::into_inner).get(place)?.clone();
    if head.starts_with("POST") {
        if let Some(Message::Text(text)) = answer(Message::text(body), all) {
            outbox.push(text);
        }
        return Some("ok".to_owned());
    }
    outbox.bell.notified().await;
    Some(outbox.take().iter().map(Utf8Bytes::as_str).collect::<Vec<_>>().join("\x1e"))
}

async fn client(mut stream: TcpStream, all: All) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let Some(key) = Box::pin(opening(&mut stream, &all)).await else { return Ok(()) };
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let outbox = Arc::<Outbox>::default();
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(READ_BUFFER);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    socket.send(Message::Text(Utf8Bytes::from_static(OPEN))).await?;
    all.lock().unwrap_or_else(PoisonError::into_inner).push(outbox.clone());
    let ended = talk(&mut socket, &outbox, &all).await;
    all.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| !Arc::ptr_eq(other, &outbox));
    ended
}

async fn talk(
    socket: &mut WebSocketStream<TcpStream>,
    outbox: &Outbox,
    all: &All,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    loop {
        tokio::select! {
            message = socket.next() => {
                let mut next = Some(message);
                // All that has arrived is answered before anything is flushed.
                while let Some(message) = next {
                    match message {
                        None | Some(Ok(Message::Close(_))) => return Ok(()),
                        Some(message) => {
                            if let Some(answer) = answer(message?, all) {
                                socket.feed(answer).await?;
                            }
                        }
                    }
                    next = socket.next().now_or_never();
                }
            }
            () = outbox.bell.notified() => {}
        }
        for text in outbox.take() {
            socket.feed(Message::Text(text)).await?;
        }
        socket.flush().await?;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some("--port"), Some(port)) = (args.next().as_deref(), args.next()) else {
        return Err("usage: floor --port N".into());
    };
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    let all = All::default();
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(client(stream, all.clone()));
    }
}
