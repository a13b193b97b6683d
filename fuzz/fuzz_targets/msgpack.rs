//! Bytes that convert are JSON, which converts back and forth without change; JSON converts, and a map never becomes an attachment.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rill::internals::codec::args::Args;
use rill::internals::server::redis::msgpack::{MsgpackError, from_json, to_json};
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    if let Ok((text, attachments)) = to_json(data, 3) {
        assert!(attachments.len() <= 3);
        assert!(text.len() <= data.len() * 20 + 40);
        serde_json::from_str::<&RawValue>(&text).expect("JSON");
        placed(&text, &attachments);
        let again = from_json(&text, &attachments).expect("our own JSON");
        assert_eq!(to_json(&again, 3), Ok((text, attachments)));
    }

    let Ok(text) = std::str::from_utf8(data) else { return };
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    for count in 0..3 {
        let attachments: Vec<Bytes> = (0..count).map(|i| Bytes::from(vec![i])).collect();
        match from_json(text, &attachments) {
            Err(MsgpackError::Json) => assert!(!is_json),
            Err(MsgpackError::TooDeep) => {}
            Err(error) => assert!(error == MsgpackError::Placeholder && count > 0),
            Ok(bytes) => {
                assert!(is_json);
                // A placeholder of nothing beside an attachment can't be: it was refused, or there is none.
                let (text, attachments) = to_json(&bytes, usize::MAX).expect("our own MessagePack");
                placed(&text, &attachments);
                let again = from_json(&text, &attachments).expect("our own JSON");
                assert_eq!(to_json(&again, usize::MAX), Ok((text, attachments)));
            }
        }
    }
});

/// Each attachment has its own placeholder and there is no other.
fn placed(text: &str, attachments: &[Bytes]) {
    if !attachments.is_empty() {
        let one = Args::from_wire(text.to_owned(), attachments.to_vec()).select(0).expect("legal placeholders");
        assert_eq!((one.text(), one.attachments()), (text, attachments));
    }
}
