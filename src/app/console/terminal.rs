//! Lines for the operator: tagged, and with nothing in them that a terminal would obey.
//!
//! Names and texts come from strangers and are read in `docker attach`: control characters, and characters that hide or turn text around, are
//! written as escapes. A line that arrives while the operator types goes above the prompt. A thread of its own writes, because an output may
//! stand still for hours (Ctrl-S, a pipe that nobody reads), and neither clients nor the end of the process may wait for it.
//!
//! Whoever collects the output of many servers writes a name before each line (`docker-compose logs`): a prompt is taken away by going back
//! to where the cursor was before it (DECSC and DECRC), not to the first column, where that name stands. `rlwrap` wants `-A` for that, else it
//! counts the two characters as a part of the prompt.
//!
//! With `LOG_FORMAT=json` each line is an object. Where nobody types at a terminal there is no prompt then, and answers are objects too: the
//! output is JSON lines and nothing else. Where somebody does, he has his prompt and reads his answers as ever.

use super::json;
use super::notice::{CONSOLE, Said};
use crate::id::Clock;
use crate::server::lock;
use crate::server::notice::{Level, Line, visible};
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What the operator types behind.
pub const PROMPT: &str = "SERVER> ";
/// DECSC (VT100 and everything since): the terminal remembers where the cursor is.
const SAVE: &str = "\u{1b}7";
/// DECRC: back to there; then all behind is wiped out, what is half-typed too.
const BACK: &str = "\u{1b}8\u{1b}[J";
/// Back over a prompt on a terminal that may not have seen it, and so remembers nothing; in the first column this does nothing.
const BACK_BLIND: &str = "\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{1b}[J";
/// Bytes that may wait for the output; lines beyond are dropped and counted.
const WAITING: usize = 1024 * 1024;

/// How lines of the log look.
#[derive(Clone, Default)]
pub enum Form {
    /// Tag and message, for collectors that write time and level themselves.
    #[default]
    Plain,
    /// Time and level before them.
    Text(Clock),
    /// Objects.
    Json(Clock),
}

/// What is still to be written, and how the output looks then.
#[derive(Default)]
struct Screen {
    is_terminal: bool,
    /// The operator's own line end is seen in the output.
    echoes: bool,
    form: Form,
    /// Nobody types at a terminal, and the output is for programs.
    mute: bool,
    /// What stands at the end: the prompt, or numbers that are drawn anew; empty: nothing.
    foot: String,
    waiting: String,
    dropped: u64,
    /// The writer has taken what waited, and is at it.
    writing: bool,
}

impl Screen {
    fn line(&mut self, line: &Line) {
        let text = match &self.form {
            Form::Plain => line.to_string(),
            Form::Text(clock) => format!("{} {:<5} {line}", clock().iso(), line.level.name()),
            Form::Json(clock) => json::object(clock(), line),
        };
        self.put(&text);
    }

    /// A line for the operator, who may be a program.
    fn answer(&mut self, text: &str) {
        match self.mute {
            true => self.line(&Line::new(Level::Info, CONSOLE, text.to_owned(), &[])),
            false => self.put(&visible(text)),
        }
    }

    fn put(&mut self, text: &str) {
        if self.waiting.len() + text.len() + self.foot.len() > WAITING {
            self.dropped += 1;
            return;
        }
        let before = self.wipe();
        self.waiting.extend([&before, text, "\n", &self.foot]);
    }

    /// What takes the foot away, for something else to stand there; without a terminal it can only be left behind.
    fn wipe(&self) -> String {
        match (self.foot.matches('\n').count(), self.is_terminal) {
            _ if self.foot.is_empty() => String::new(),
            (_, false) => "\n".to_owned(),
            (0, true) => BACK.to_owned(),
            (rows, true) => format!("\r\u{1b}[{rows}A\u{1b}[J"),
        }
    }

    fn prompt(&mut self) {
        if self.mute {
            return;
        }
        self.foot = if self.is_terminal { format!("{SAVE}{PROMPT}") } else { PROMPT.to_owned() };
        // A second prompt to an output that stands still says nothing new.
        if self.waiting.len() < WAITING {
            self.waiting.push_str(&self.foot);
        }
    }

    /// Shows the foot again: the terminal has another size, or is another one (`docker attach` changes its size for this).
    fn redraw(&mut self) {
        if !self.is_terminal || self.foot.is_empty() || !self.waiting.is_empty() {
            return;
        }
        let before = if self.foot.contains('\n') { self.wipe() } else { BACK_BLIND.to_owned() };
        self.waiting.extend([before.as_str(), &self.foot]);
    }

    /// Draws the foot anew, on a terminal. One that takes nothing now keeps what it shows.
    fn draw(&mut self, rows: &str) {
        if self.waiting.is_empty() {
            let before = self.wipe();
            // A row that is too long for the terminal is cut, so that rows and lines stay the same number.
            self.foot = format!("\u{1b}[?7l{rows}\u{1b}[?7h");
            self.waiting.extend([before.as_str(), &self.foot]);
        }
    }

    fn end_line(&mut self, seen: bool) {
        if !std::mem::take(&mut self.foot).is_empty() && !seen {
            self.waiting.push('\n');
        }
    }

    /// What is to be written now.
    fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.waiting);
        match std::mem::take(&mut self.dropped) {
            0 => return text,
            lines => self.line(&Said::LinesDropped { lines }.into()),
        }
        text + &std::mem::take(&mut self.waiting)
    }
}

#[derive(Default)]
struct Shared {
    screen: Mutex<Screen>,
    changed: Condvar,
}

/// Standard output, with or without a prompt at its end.
pub struct Terminal(Arc<Shared>);

impl Terminal {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn open(form: Form) -> std::io::Result<Terminal> {
        let (is_terminal, is_typed) = (std::io::stdout().is_terminal(), std::io::stdin().is_terminal());
        let (echoes, mute) = (is_terminal && is_typed, matches!(form, Form::Json(_)) && !is_typed);
        let screen = Screen { is_terminal, echoes, form, mute, ..Screen::default() };
        let shared = Arc::new(Shared { screen: Mutex::new(screen), changed: Condvar::new() });
        let written = shared.clone();
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || written.write())?;
        Ok(Terminal(shared))
    }

    /// Prints a line; a prompt that stands at the end of the output stands there again afterwards.
    pub fn line(&self, line: impl Into<Line>) {
        let line = line.into();
        self.0.change(|screen| screen.line(&line));
    }

    /// Prints a line of what the operator has asked for.
    pub fn answer(&self, text: &str) {
        self.0.change(|screen| screen.answer(text));
    }

    /// Whether what is drawn can be drawn anew in its place, for somebody who looks at it.
    #[must_use]
    pub fn can_draw(&self) -> bool {
        let screen = lock(&self.0.screen);
        screen.is_terminal && !screen.mute
    }

    /// Shows `rows` at the end of the output, in the place of those that were shown before. Only where [`Terminal::can_draw`].
    pub fn draw(&self, rows: &str) {
        self.0.change(|screen| screen.draw(rows));
    }

    /// Prints the prompt.
    pub fn prompt(&self) {
        self.0.change(Screen::prompt);
    }

    /// Shows what stands at the end of the output again, where it is a terminal: its size has changed.
    pub fn redraw(&self) {
        self.0.change(Screen::redraw);
    }

    /// The operator has finished a line: what stands at the end of the output is no prompt any more.
    pub fn entered(&self) {
        self.0.change(|screen| screen.end_line(screen.echoes));
    }

    /// The operator will finish no line any more: the output goes on below the prompt.
    pub fn abandoned(&self) {
        self.0.change(|screen| screen.end_line(false));
    }

    /// Waits until all is written, but not for longer than `most`.
    pub fn finish(&self, most: Duration) {
        let busy = |screen: &mut Screen| screen.writing || !screen.waiting.is_empty();
        let _ = self.0.changed.wait_timeout_while(lock(&self.0.screen), most, busy);
    }
}

impl Shared {
    fn change(&self, f: impl FnOnce(&mut Screen)) {
        f(&mut lock(&self.screen));
        self.changed.notify_all();
    }

    /// The writer's life.
    fn write(&self) {
        loop {
            let idle = |screen: &mut Screen| screen.waiting.is_empty();
            let mut screen = self.changed.wait_while(lock(&self.screen), idle).unwrap_or_else(PoisonError::into_inner);
            screen.writing = true;
            let text = screen.take();
            drop(screen);
            // A closed output is no reason to stop serving.
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            drop(out);
            self.change(|screen| screen.writing = false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> Line {
        Line::new(Level::Info, "SERVER", message.to_owned(), &[])
    }

    #[test]
    fn lines_around_the_prompt() {
        let screen = |is_terminal, echoes| Screen { is_terminal, echoes, ..Screen::default() };
        for (mut screen, want) in [
            (
                screen(true, true),
                "[SERVER] a\n\u{1b}7SERVER> \u{1b}8\u{1b}[J[SERVER] b\\n\n\u{1b}7SERVER> [SERVER] c\n\u{1b}7SERVER> \n[SERVER] d\n",
            ),
            (
                screen(true, false),
                "[SERVER] a\n\u{1b}7SERVER> \u{1b}8\u{1b}[J[SERVER] b\\n\n\u{1b}7SERVER> \n[SERVER] c\n\u{1b}7SERVER> \n[SERVER] d\n",
            ),
            (screen(false, false), "[SERVER] a\nSERVER> \n[SERVER] b\\n\nSERVER> \n[SERVER] c\nSERVER> \n[SERVER] d\n"),
        ] {
            screen.line(&line("a"));
            screen.prompt();
            screen.line(&line("b\n"));
            screen.end_line(screen.echoes);
            screen.line(&line("c"));
            screen.prompt();
            screen.end_line(false);
            screen.end_line(false);
            screen.line(&line("d"));
            assert_eq!(screen.take(), want);
        }
    }

    #[test]
    fn the_name_that_others_write_before_a_line_is_kept() {
        let mut screen = Screen { is_terminal: true, echoes: true, ..Screen::default() };
        screen.prompt();
        for _ in 0..3 {
            screen.redraw();
            screen.line(&line("x connected"));
            screen.prompt();
            screen.end_line(true);
            screen.prompt();
        }
        let text = screen.take();
        assert!(!text.contains('\r') && text.contains("SERVER> ") && text.contains("connected\n"), "{text:?}");
    }

    #[test]
    fn what_stands_at_the_end_is_drawn_when_the_size_changes() {
        let screen = |is_terminal| Screen { is_terminal, ..Screen::default() };
        for (mut screen, want) in
            [(screen(false), ""), (screen(true), "\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{1b}[J\u{1b}7SERVER> ")]
        {
            screen.redraw();
            assert_eq!(screen.take(), "", "nothing stands there yet");
            screen.prompt();
            let _ = screen.take();
            screen.redraw();
            screen.redraw();
            assert_eq!(screen.take(), want, "once, where the output stands still");
        }
        assert_eq!(BACK_BLIND.matches('\u{8}').count(), PROMPT.len());
        let mut rows = screen(true);
        rows.draw("a\nb");
        let drawn = rows.take();
        rows.redraw();
        assert_eq!(rows.take(), format!("\r\u{1b}[1A\u{1b}[J{drawn}"));
        rows.end_line(true);
        rows.redraw();
        assert_eq!(rows.take(), "", "nothing stands there any more");
    }

    #[test]
    fn rows_that_are_drawn_anew() {
        let (on, off) = ("\u{1b}[?7l", "\u{1b}[?7h");
        let mut screen = Screen { is_terminal: true, echoes: true, ..Screen::default() };
        screen.draw("a\nb\nc");
        assert_eq!(screen.take(), format!("{on}a\nb\nc{off}"));
        screen.draw("d\ne\nf");
        screen.draw("an output that stands still is not drawn to");
        assert_eq!(screen.take(), format!("\r\u{1b}[2A\u{1b}[J{on}d\ne\nf{off}"));
        screen.line(&line("x"));
        assert_eq!(screen.take(), format!("\r\u{1b}[2A\u{1b}[J[SERVER] x\n{on}d\ne\nf{off}"));
        screen.end_line(true);
        screen.line(&line("y"));
        assert_eq!(screen.take(), "[SERVER] y\n");
    }

    #[test]
    fn lines_as_objects() {
        let form = Form::Json(std::sync::Arc::new(|| crate::id::Time(0)));
        let object = |rest: &str| format!("{{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",{rest}}}\n");
        let stopped = object("\"tag\":\"SERVER\",\"message\":\"stopped\"");
        let answer = object("\"tag\":\"CONSOLE\",\"message\":\"2 rooms\\\\u{1b}\"");
        for (mute, want) in [
            (true, format!("{stopped}{answer}")),
            (false, format!("SERVER> \n{stopped}SERVER> \n2 rooms\\u{{1b}}\nSERVER> ")),
        ] {
            let mut screen = Screen { form: form.clone(), mute, ..Screen::default() };
            screen.prompt();
            screen.line(&line("stopped"));
            screen.answer("2 rooms\u{1b}");
            assert_eq!(screen.take(), want);
        }
    }

    #[test]
    fn lines_have_time_and_level() {
        let form = Form::Text(std::sync::Arc::new(|| crate::id::Time(1_700_000_000_123)));
        let mut screen = Screen { form, ..Screen::default() };
        screen.line(&line("stopped"));
        screen.line(&Said::LinesDropped { lines: 3 }.into());
        screen.answer("an answer is no line of the log");
        let want = "2023-11-14T22:13:20.123Z info  [SERVER] stopped\n\
                    2023-11-14T22:13:20.123Z warn  [SERVER] 3 lines were dropped: nothing read the output\n\
                    an answer is no line of the log\n";
        assert_eq!(screen.take(), want);
    }

    #[test]
    fn an_output_that_stands_still_costs_no_more_than_its_bound() {
        let mut screen = Screen::default();
        for i in 0..3_000 {
            screen.line(&line(&"x".repeat(1_000)));
            screen.prompt();
            screen.end_line(false);
            assert!(screen.waiting.len() <= WAITING + 2_000, "{i}: {}", screen.waiting.len());
        }
        let text = screen.take();
        assert!(text.ends_with(" lines were dropped: nothing read the output\n"), "{}", &text[text.len() - 100..]);
        assert_eq!(screen.take(), "");
    }
}
