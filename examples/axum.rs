//! An application made with Axum, with live updates on its own port: a notice posted to `/notices` is heard at once by all who have the page open.
//!
//! ```sh
//! cargo run --release --example axum            # PORT=3000
//! curl -d 'the lift is out of order' localhost:3000/notices
//! ```
//!
//! `socket_io` below is all that joins the two: take it as it is. It works in the same way with hyper alone.

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Router, serve};
use hyper_util::rt::TokioIo;
use rill::{Args, Events, Options, Server, Service};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// What the routes share.
#[derive(Clone)]
struct App {
    live: Service,
    notices: Arc<Mutex<Vec<String>>>,
}

fn main() -> std::io::Result<()> {
    rill::runtime()?.block_on(run())
}

async fn run() -> std::io::Result<()> {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let server = Server::in_memory(Options::default());
    let known = notices.clone();
    server.of("/").handle(Events::new().on("notices", move |_, event| {
        if let Some(ack) = event.ack {
            ack.send(known.lock().unwrap_or_else(PoisonError::into_inner).join("\n"));
        }
    }));
    let app = App { live: Service::begin(server), notices };
    let router = Router::new()
        .route("/", get(|| async { "Post a notice to /notices\n" }))
        .route("/notices", get(list).post(post))
        .route("/socket.io/", any(socket_io))
        .with_state(app.clone())
        .into_make_service_with_connect_info::<SocketAddr>();
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(3000);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("the application is on port {port}");
    // Axum waits for its requests, so the clients that wait for packets are let go first.
    let live = app.live.clone();
    serve(listener, router)
        .with_graceful_shutdown(async move {
            let _ = tokio::signal::ctrl_c().await;
            live.stop().await;
        })
        .await
}

/// Hands a request to the Socket.IO server, and what becomes a WebSocket too.
async fn socket_io(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Result<Response, StatusCode> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let most = app.live.server().options().limits.max_payload;
    let body = to_bytes(body, most).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut asked = rill::Request::new(head.method.as_str(), target, peer.ip()).body(body);
    for (name, value) in &head.headers {
        asked = asked.header(name.as_str(), value);
    }
    let answer = app.live.answer(asked).await;
    if let Some(websocket) = answer.websocket {
        tokio::spawn(async move {
            if let Ok(stream) = upgrade.await {
                websocket.serve(TokioIo::new(stream)).await;
            }
        });
    }
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(&**name, &**value);
    }
    response.body(Body::from(answer.body)).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// A route like any other, which reaches everybody who is connected.
async fn post(State(app): State<App>, notice: String) -> Result<&'static str, StatusCode> {
    app.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice.clone());
    let everybody = app.live.server().of("/");
    everybody.emit_all("notice", Args::from(notice)).map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok("posted\n")
}

async fn list(State(app): State<App>) -> String {
    app.notices.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
}
