//! Where the log lives: in this process, or in Redis.

use super::config::{Adapter, Config};
use super::console::notice::Said;
use super::network::gateway;
use crate::id::Clock;
use crate::io::redis::{RedisOptions, RedisStreams};
use crate::server::log::memory::MemoryStreams;
use crate::server::log::streams::Streams;
use crate::server::{Log, Options};
use std::net::{Ipv4Addr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// What a container calls its host.
const HOST: &str = "host.docker.internal";
/// For a Redis on this host to accept, where it is only tried.
const TRY: Duration = Duration::from_millis(500);

/// The log.
#[derive(Clone)]
pub enum Backend {
    /// In this process.
    Memory(Arc<MemoryStreams>),
    /// In Redis.
    Redis(RedisStreams),
}

impl Backend {
    /// The log that `config` asks for, and what is to be said where it was chosen.
    #[must_use]
    pub fn choose(config: &Config, options: &Options, clock: &Clock, log: &Log) -> (Backend, Option<Said>) {
        let host = host_of_container(&config.redis.host).filter(|_| config.redis.socket.is_none());
        let place = config.redis.place();
        let (redis, said) = match config.adapter {
            Adapter::Memory => (false, None),
            Adapter::Redis => (true, host.map(|host| Said::Gateway { name: HOST, gateway: host })),
            Adapter::Try if listens(&place) => (true, Some(Said::RedisFound { redis: place })),
            Adapter::Try => (false, Some(Said::NoRedis { redis: place })),
        };
        let backend = match redis {
            true => Backend::Redis(RedisStreams::new(
                RedisOptions {
                    host: host.map_or(config.redis.host.clone(), |host| host.to_string()),
                    ..config.redis.clone()
                },
                &options.limits,
                clock.clone(),
                Some(log.clone()),
            )),
            false => Backend::Memory(Arc::new(MemoryStreams::new(&options.limits))),
        };
        (backend, said)
    }

    /// As the server sees it.
    #[must_use]
    pub fn streams(&self) -> Arc<dyn Streams> {
        match self {
            Backend::Memory(streams) => streams.clone(),
            Backend::Redis(redis) => Arc::new(redis.clone()),
        }
    }
}

/// The host's address, where it is asked for by the name that Docker has for it, and this Docker gives that name no address: on Linux it
/// wants `--add-host=host.docker.internal:host-gateway`.
fn host_of_container(host: &str) -> Option<Ipv4Addr> {
    match host == HOST && (host, 0).to_socket_addrs().is_err() {
        true => gateway(&std::fs::read_to_string("/proc/net/route").ok()?),
        false => None,
    }
}

fn listens(place: &str) -> bool {
    let addresses = place.to_socket_addrs().into_iter().flatten();
    addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, TRY).is_ok())
}
