//! Floor 5: what the binary `rill` adds for people. Configuration, console, log, room application, pages; built on the library's public API.

pub mod backend;
pub mod chat;
pub mod config;
pub mod console;
pub mod door;
pub mod files;
pub mod monitor;
pub mod network;
pub mod pages;
pub mod process;
mod redis_config;
pub mod report;
pub mod spelling;
