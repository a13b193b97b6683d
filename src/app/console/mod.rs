//! The console: what an operator types, what is done about it, and what is said to people.
//!
//! A line is a command and its answer follows; [`operator`] is the loop, everything else serves it.

pub mod command;
mod drain;
pub mod input;
pub mod json;
pub mod lists;
pub mod notice;
pub mod operator;
mod own;
mod signals;
pub mod status;
pub mod terminal;
pub mod top;
mod width;
