//! Signals: SIGINT and SIGTERM end the server as `exit` does, SIGUSR1 starts it, SIGHUP is told and ends nothing.
//!
//! At a terminal the first SIGINT is most often a Ctrl-C of somebody who wants to leave and not to end: it says what a second one does.

use super::input::Input;
use super::terminal::Terminal;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Sender;

/// How long the end may take, whatever holds it up.
const END: Duration = Duration::from_secs(9);
/// For the second Ctrl-C.
const AGAIN: Duration = Duration::from_secs(10);

/// Hands what comes to the operator's loop; `ending` is set as soon as it is the end, whatever was typed ahead.
///
/// # Errors
/// The operating system takes no handler.
pub fn watch(inputs: &Sender<Input>, ending: &Arc<AtomicBool>) -> std::io::Result<()> {
    let plain: [(SignalKind, fn() -> Input); 2] =
        [(SignalKind::user_defined1(), || Input::Start), (SignalKind::hangup(), || Input::HangUp)];
    for (kind, input) in plain {
        let mut signal = signal(kind)?;
        let inputs = inputs.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                let _ = inputs.send(input()).await;
            }
        });
    }
    let asks = std::io::stdin().is_terminal();
    for (kind, name, asks) in [(SignalKind::interrupt(), "SIGINT", asks), (SignalKind::terminate(), "SIGTERM", false)] {
        let mut signal = signal(kind)?;
        let (inputs, ending) = (inputs.clone(), ending.clone());
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            while signal.recv().await.is_some() {
                let now = Instant::now();
                if asks && first.is_none_or(|first| now.duration_since(first) > AGAIN) {
                    first = Some(now);
                    let _ = inputs.send(Input::Interrupt).await;
                    continue;
                }
                if !ending.swap(true, Ordering::Relaxed) {
                    end_surely();
                }
                let _ = inputs.send(Input::Signal(name)).await;
            }
        });
    }
    Ok(())
}

/// Whoever attaches to a container changes the size of its terminal, for programs to draw themselves anew.
///
/// # Errors
/// The operating system takes no handler.
pub fn watch_size(terminal: Arc<Terminal>) -> std::io::Result<()> {
    let mut resized = signal(SignalKind::window_change())?;
    tokio::spawn(async move {
        while resized.recv().await.is_some() {
            terminal.redraw();
        }
    });
    Ok(())
}

/// The process ends in time, whatever may still hold its goodbye up: supervisors kill what takes longer.
pub fn end_surely() {
    let end = || {
        std::thread::sleep(END);
        std::process::exit(0);
    };
    // Without a thread there is only the goodbye's own time limit.
    let _ = std::thread::Builder::new().name("end".to_owned()).spawn(end);
}
