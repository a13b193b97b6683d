//! The client's side of long-polling: two connections that stay open, one for the GETs and one for the POSTs.

use crate::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SEPARATOR: char = '\u{1e}';

pub struct Polling {
    gets: Http,
    posts: Http,
    /// The path of this session.
    path: String,
    /// Packets of an answer that are not taken yet.
    packets: Vec<String>,
}

impl Polling {
    /// A session with the main namespace, and a GET that waits.
    pub async fn open(port: u16) -> Result<Polling, Failure> {
        let (mut gets, posts) = (Http::open(port).await?, Http::open(port).await?);
        gets.get("/socket.io/?EIO=4&transport=polling").await?;
        let open = gets.answer().await?;
        let sid = open.split_once("\"sid\":\"").and_then(|(_, rest)| rest.split_once('"')).ok_or("no sid")?.0;
        let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let mut client = Polling { gets, posts, path, packets: Vec::new() };
        client.gets.get(&client.path).await?;
        let connected = client.exchange("40").await?;
        match connected.starts_with("40{") {
            true => Ok(client),
            false => Err(format!("{connected} where 40 was expected").into()),
        }
    }

    /// Sends a packet and waits for the next one that comes.
    pub async fn exchange(&mut self, packet: &str) -> Result<String, Failure> {
        self.post(packet).await?;
        loop {
            for packet in std::mem::take(&mut self.packets) {
                match packet.as_str() {
                    "2" => self.post("3").await?,
                    _ => self.packets.push(packet),
                }
            }
            if !self.packets.is_empty() {
                return Ok(self.packets.remove(0));
            }
            let answer = self.gets.answer().await?;
            self.packets.extend(answer.split(SEPARATOR).map(str::to_owned));
            self.gets.get(&self.path).await?;
        }
    }

    async fn post(&mut self, packet: &str) -> Result<(), Failure> {
        let Polling { posts, path, .. } = self;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n\r\n{packet}",
            packet.len()
        );
        posts.stream.write_all(head.as_bytes()).await?;
        match posts.answer().await?.as_str() {
            "ok" => Ok(()),
            other => Err(format!("{other} where ok was expected").into()),
        }
    }
}

/// One connection, one request at a time.
struct Http {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Http {
    async fn open(port: u16) -> Result<Http, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Http { stream, received: Vec::new() })
    }

    async fn get(&mut self, path: &str) -> Result<(), Failure> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        Ok(self.stream.write_all(head.as_bytes()).await?)
    }

    /// The body of the answer.
    async fn answer(&mut self) -> Result<String, Failure> {
        let head = self.take_line(b"\r\n\r\n").await?.to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(format!("answered {head}").into());
        }
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(length) = header("content-length:") {
            return self.take(length.parse()?).await;
        }
        if header("transfer-encoding:") != Some("chunked") {
            return Err("an answer without a length".into());
        }
        let mut body = String::new();
        loop {
            let length = usize::from_str_radix(&self.take_line(b"\r\n").await?, 16)?;
            body += &self.take(length).await?;
            self.take(2).await?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    /// What comes before this end, without it.
    async fn take_line(&mut self, end: &[u8]) -> Result<String, Failure> {
        loop {
            if let Some(at) = self.received.windows(end.len()).position(|bytes| bytes == end) {
                let line = self.take(at).await?;
                self.received.drain(..end.len());
                return Ok(line);
            }
            self.read().await?;
        }
    }

    async fn take(&mut self, length: usize) -> Result<String, Failure> {
        while self.received.len() < length {
            self.read().await?;
        }
        Ok(String::from_utf8(self.received.drain(..length).collect())?)
    }

    async fn read(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}
