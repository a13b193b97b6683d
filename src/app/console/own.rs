//! Commands that a binary of one's own adds to the console.

use super::command::CommandError;
use super::operator::Operator;
use crate::server::Server;
use std::fmt::Write as _;
use std::pin::Pin;

type Answer = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

struct Own {
    usage: String,
    what: String,
    run: Box<dyn Fn(Server, String) -> Answer + Send + Sync>,
}

/// The commands that were added, in their order.
#[derive(Default)]
pub(super) struct OwnCommands(Vec<Own>);

impl OwnCommands {
    pub(super) fn add<F: Future<Output = Result<String, String>> + Send + 'static>(
        &mut self,
        usage: &str,
        what: &str,
        run: impl Fn(Server, String) -> F + Send + Sync + 'static,
    ) {
        let run = Box::new(move |server, rest| -> Answer { Box::pin(run(server, rest)) });
        self.0.push(Own { usage: usage.to_owned(), what: what.to_owned(), run });
    }

    /// Runs the command that a line begins with; `None`: there is none of this name.
    pub(super) async fn run(&self, line: &str, server: &Server) -> Option<Result<String, String>> {
        let (name, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let own = self.0.iter().find(|own| own.usage.split(' ').next() == Some(name))?;
        Some((own.run)(server.clone(), rest.trim().to_owned()).await)
    }

    /// Below the list of the other commands, in the same columns.
    pub(super) fn help(&self) -> String {
        self.0.iter().fold(String::new(), |mut help, own| {
            let _ = writeln!(help, "  {:<33} {}", own.usage, own.what);
            help
        })
    }
}

impl Operator {
    /// The server, for handlers and namespaces of one's own beside the room application.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Adds a command to the console. `usage` is what `help` shows, and begins with its name; `run` gets the server and the rest of the line, and
    /// answers lines of text, or says why it is not done. The console's own commands can't be replaced.
    ///
    /// ```no_run
    /// # fn example(operator: rill::operator::Operator) {
    /// let operator = operator.command("whois <id>", "what is known of a client", |server, id| async move {
    ///     let found = server.of("/").to(id.as_str()).fetch().await.map_err(|error| error.to_string())?;
    ///     let client = found.sockets.first().ok_or("there is no such client")?;
    ///     Ok(format!("{} from {}, in {} rooms", client.id, client.handshake["address"], client.rooms.len()))
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn command<F: Future<Output = Result<String, String>> + Send + 'static>(
        mut self,
        usage: &str,
        what: &str,
        run: impl Fn(Server, String) -> F + Send + Sync + 'static,
    ) -> Operator {
        self.own.add(usage, what, run);
        self
    }

    /// A line that is none of the console's commands may be one that was added; false: it is not done.
    pub(super) async fn obey_own(&self, line: &str, error: &CommandError) -> bool {
        let answer = match error {
            CommandError::Unknown(_) => self.own.run(line, &self.server).await,
            CommandError::Usage(_)
            | CommandError::TooMuch { .. }
            | CommandError::Escape
            | CommandError::Cut
            | CommandError::TooLong => None,
        };
        let done = matches!(answer, Some(Ok(_)));
        match answer {
            Some(Ok(text) | Err(text)) => self.print(&text),
            None => self.print(&error.to_string()),
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Options;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn the_first_word_names_the_command_and_the_rest_is_its() {
        let (mut own, server) = (OwnCommands::default(), Server::in_memory(Options::default()));
        own.add("kick <id>", "removes a client", |server, id| async move {
            match id.is_empty() {
                true => Err("whom?".to_owned()),
                false => Ok(format!("{id} of {}", server.connection_count())),
            }
        });
        let answer = |line: &str| match pin!(own.run(line, &server)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("it waits for nothing"),
        };
        assert_eq!(answer(" kick  Ada L "), Some(Ok("Ada L of 0".to_owned())));
        assert_eq!(answer("kick"), Some(Err("whom?".to_owned())));
        assert_eq!(answer("kicks"), None);
        assert!(own.help().contains("kick <id>"));
    }
}
