//! What is typed, read line by line on a thread of its own.
//!
//! The thread blocks in `read` for as long as nothing is typed, so that nothing ever waits for it: the process ends by `exit`.

use super::command::{CommandError, LONGEST, LONGEST_TYPED};
use std::io::{BufRead, IsTerminal, Read};
use tokio::sync::mpsc::Sender;

/// What reaches the operator's loop.
#[derive(Debug)]
pub enum Input {
    /// A line was typed.
    Line(String),
    /// A line was typed that can't be a command: too long, or not whole.
    Unusable(CommandError),
    /// Nothing more will be typed.
    End,
    /// SIGUSR1: `start`, for where nobody can type it.
    Start,
    /// SIGHUP, which ends nothing.
    HangUp,
    /// SIGINT or SIGTERM.
    Signal(&'static str),
    /// The first SIGINT at a terminal.
    Interrupt,
}

/// Reads standard input on a thread of its own.
///
/// # Errors
/// The operating system gives no thread.
pub fn read_lines(inputs: Sender<Input>) -> std::io::Result<()> {
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let stdin = std::io::stdin();
        let typed = stdin.is_terminal();
        let mut stdin = stdin.lock();
        while let Some(line) = next_line(&mut stdin, typed) {
            if inputs.blocking_send(line).is_err() {
                return;
            }
        }
        let _ = inputs.blocking_send(Input::End);
    })?;
    Ok(())
}

/// The next line; `None` at the end, or when nothing can be read. `typed`: from a terminal.
fn next_line(input: &mut impl BufRead, typed: bool) -> Option<Input> {
    let mut line = Vec::new();
    // With its line end.
    if input.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line).ok()? == 0 {
        return None;
    }
    if line.len() > LONGEST && !line.ends_with(b"\n") {
        skip_line(input);
        return Some(Input::Unusable(CommandError::TooLong));
    }
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    if typed && text.len() >= LONGEST_TYPED {
        return Some(Input::Unusable(CommandError::Cut));
    }
    // Whoever meant a message by what he typed looks at it once more: arrow keys move no cursor here.
    if typed && text.contains(&b'\x1b') {
        return Some(Input::Unusable(CommandError::Escape));
    }
    Some(Input::Line(String::from_utf8_lossy(text).trim_end_matches('\r').to_owned()))
}

/// Reads to the end of the line and keeps nothing of it.
fn skip_line(input: &mut impl BufRead) {
    let mut part = Vec::new();
    while !part.ends_with(b"\n") {
        part.clear();
        match input.by_ref().take(LONGEST as u64).read_until(b'\n', &mut part) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut input: &[u8], typed: bool) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input, typed) {
            lines.push(match line {
                Input::Line(line) => line,
                Input::Unusable(error) => format!("{error:?}"),
                other => format!("{other:?}"),
            });
        }
        lines
    }

    #[test]
    fn reading() {
        let (fits, long) = ("x".repeat(65_536), "x".repeat(65_537));
        for (text, want) in [
            (String::new(), vec![]),
            ("start\r\n\nstatus\nexit".to_owned(), vec!["start", "", "status", "exit"]),
            (format!("{fits}\nexit\n"), vec![&fits, "exit"]),
            (fits.clone(), vec![&fits]),
            (format!("{long}\nexit"), vec!["TooLong", "exit"]),
            (format!("{long}exit"), vec!["TooLong"]),
            (format!("{long}{long}{long}exit\n\nhelp\n"), vec!["TooLong", "", "help"]),
        ] {
            assert_eq!(read(text.as_bytes(), false), want, "{} bytes", text.len());
        }
        assert_eq!(read(b"\xff\n", false), ["\u{fffd}"]);
    }

    /// A line that may have been cut is refused, and so is one that looks otherwise than it is; a pipe takes both.
    #[test]
    fn what_a_terminal_spoils_is_refused() {
        let (whole, cut) = ("x".repeat(4_094), "é".repeat(2_047) + "x");
        for (line, typed) in [(whole.as_str(), whole.as_str()), (&cut, "Cut"), ("broadcast a\u{1b}[Db", "Escape")] {
            let text = format!("{line}\nexit\n");
            assert_eq!(read(text.as_bytes(), true), [typed, "exit"]);
            assert_eq!(read(text.as_bytes(), false), [line, "exit"]);
        }
    }
}
