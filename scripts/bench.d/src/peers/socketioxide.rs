//! The events of `conformance bench`, served by socketioxide on axum: `socketioxide --port N [--redis HOST:PORT]`.

use axum::Router;
use rmpv::Value;
use socketioxide::SocketIo;
use socketioxide::adapter::Adapter;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::FromMessageParts;
use socketioxide::layer::SocketIoLayer;
use socketioxide::socket::Socket;
use socketioxide_redis::drivers::redis::redis_client;
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr};
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Whether the client asked for an acknowledgement.
struct Asked(bool);

impl<A: Adapter> FromMessageParts<A> for Asked {
    type Error = Infallible;

    fn from_message_parts(
        _: &Arc<Socket<A>>,
        _: &mut socketioxide_core::Value,
        ack: &Option<i64>,
    ) -> Result<Self, Infallible> {
        Ok(Self(ack.is_some()))
    }
}

async fn connected<A: Adapter>(socket: SocketRef<A>) {
    socket.join("all");
    socket.on("echo", async |socket: SocketRef<A>, Data(value): Data<Value>, asked: Asked, ack: AckSender<A>| {
        let _ = match asked {
            Asked(true) => ack.send(&value),
            Asked(false) => socket.emit("echo", &value),
        };
    });
    socket.on("join", async |socket: SocketRef<A>, Data(room): Data<String>, ack: AckSender<A>| {
        socket.join(room);
        let _ = ack.send(&());
    });
    socket.on("broadcast", async |io: SocketIo<A>, Data(value): Data<Value>| {
        let _ = io.to("all").emit("broadcast", &value).await;
    });
    socket.on("room", async |io: SocketIo<A>, Data((room, value)): Data<(String, Value)>| {
        let _ = io.to(room).emit("room", &value).await;
    });
}

async fn serve<A: Adapter>(listener: TcpListener, layer: SocketIoLayer<A>) -> Result<(), Box<dyn Error>> {
    Ok(axum::serve(listener, Router::new().layer(layer)).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut port, mut redis) = (0, None);
    let mut args = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        match name.as_str() {
            "--port" => port = value.parse()?,
            "--redis" => redis = Some(value),
            _ => return Err(format!("no such option: {name}").into()),
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    match redis {
        None => {
            let (layer, io) = SocketIo::new_layer();
            io.ns("/", connected);
            serve(listener, layer).await
        }
        Some(place) => {
            let client = redis_client::Client::open(format!("redis://{place}?protocol=resp3"))?;
            let adapter = RedisAdapterCtr::new_with_redis(&client).await?;
            let (layer, io) = SocketIo::builder().with_adapter::<RedisAdapter<_>>(adapter).build_layer();
            io.ns("/", connected).await?;
            serve(listener, layer).await
        }
    }
}
