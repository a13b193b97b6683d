//! Any packets in any order: no panic, attachments are complete and within their bounds or not handed out, an error is the end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::Limits;
use rill::internals::id::Time;
use rill::internals::proto::client::{Action, Client};

// Messages are separated by a zero byte; one that begins with a 1 byte is binary.
fuzz_target!(|data: &[u8]| {
    let limits = Limits { attachments_bytes: 64, ..Limits::default() };
    let mut client = Client::new(Time(0), &limits);
    let mut waiting = false;
    for message in data.split(|byte| *byte == 0) {
        let action = match message.split_first() {
            Some((1, binary)) => client.binary(Time(1), binary.to_vec().into(), &limits),
            _ => match std::str::from_utf8(message) {
                Ok(text) => client.text(Time(1), text, &limits),
                Err(_) => return,
            },
        };
        match action {
            Ok(Action::Connect { nsp, .. }) => {
                assert!(!waiting && nsp.starts_with('/'));
                client.connected(nsp);
            }
            Ok(Action::Event { args, .. } | Action::Ack { args, .. }) => {
                assert_eq!(waiting, !args.attachments().is_empty());
                assert!(args.attachments().len() <= 10);
                assert!(args.attachments().iter().map(|data| data.len()).sum::<usize>() <= 64);
                waiting = false;
            }
            Ok(Action::Wait) => {
                waiting = true;
                assert!(client.next_timeout().is_some());
            }
            Ok(Action::Disconnect { .. }) => assert!(!waiting),
            Err(_) => return,
        }
    }
});
