//! Lines for the operator: tagged, and with nothing in them that a terminal would obey.
//!
//! Names and texts come from strangers and are read in `docker attach`: control characters, and characters that hide or turn text around, are
//! written as escapes. A line that arrives while the operator types goes above the prompt.

use crate::server::lock;
use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

/// What the operator types behind.
pub const PROMPT: &str = "SERVER> ";

/// Standard output, with or without a prompt at its end.
pub struct Terminal {
    is_terminal: bool,
    prompt: Mutex<bool>,
}

impl Default for Terminal {
    fn default() -> Terminal {
        Terminal { is_terminal: std::io::stdout().is_terminal(), prompt: Mutex::new(false) }
    }
}

impl Terminal {
    /// Prints a line; a prompt that stands at the end of the output stands there again afterwards.
    pub fn line(&self, text: &str) {
        let prompt = lock(&self.prompt);
        let text = visible(text);
        match (*prompt, self.is_terminal) {
            (false, _) => print(&format!("{text}\n")),
            // Back to the first column, and the prompt is wiped out.
            (true, true) => print(&format!("\r\u{1b}[K{text}\n{PROMPT}")),
            (true, false) => print(&format!("\n{text}\n{PROMPT}")),
        }
    }

    /// Prints the prompt.
    pub fn prompt(&self) {
        *lock(&self.prompt) = true;
        print(PROMPT);
    }

    /// The operator has finished a line: what stands at the end of the output is no prompt any more.
    pub fn entered(&self) {
        *lock(&self.prompt) = false;
    }
}

/// A closed output is no reason to stop serving.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The text with everything escaped that a terminal would obey or that hides or turns text around.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_dangerous(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn is_dangerous(c: char) -> bool {
    let hides =
        matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    c.is_control() || hides || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_dangerous_is_left() {
        for (text, want) in [
            ("plain, wörld 😀", "plain, wörld 😀"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\u{1b}[2J\u{0}\u{7f}", "\\u{1b}[2J\\u{0}\\u{7f}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("abc\u{202e}cba", "abc\\u{202e}cba"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
        ] {
            assert_eq!(visible(text), want);
        }
    }
}
