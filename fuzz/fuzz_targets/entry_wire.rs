//! Any fields: no panic, and an entry that is read is written and read again without change; data is there or not by the type alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rill::Limits;
use rill::internals::id::Nsp;
use rill::internals::server::log::entry::{Entry, Posted};
use rill::internals::server::redis::wire::{decode, encode};

// The first byte is the type, the rest the data; or, if it is 0, fields and values separated by zero bytes.
fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_payload: 1_000, ..Limits::default() };
    let Some((kind, data)) = bytes.split_first() else { return };
    let kind = kind.to_string();
    let read = match kind.as_str() {
        "0" => {
            let parts: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
            decode(parts.chunks_exact(2).map(|pair| (pair[0], pair[1])), &limits)
        }
        kind => decode([(&b"nsp"[..], &b"/"[..]), (b"type", kind.as_bytes()), (b"data", data)], &limits),
    };
    let Ok((nsp, posted)) = read else { return };
    let Some(first) = write(&nsp, &posted) else { return };
    // Larger limits: what was base64 may have grown.
    let limits = Limits { max_payload: 100_000, ..limits };
    let fields = || first.iter().map(|(field, value)| (field.as_bytes(), value.as_bytes()));
    let (nsp_again, again) = decode(fields(), &limits).expect("our own entry");
    assert_eq!(nsp_again, nsp);
    let second = write(&nsp, &again).expect("our own entry");
    // Attachments are numbered anew and those that nothing names are left out; serde_json may miss a float by its last digit.
    let is_exact = match &posted.entry {
        Entry::Record(_) | Entry::Fetched { .. } => false,
        entry => attachments(entry) == 0,
    };
    if is_exact {
        assert_eq!(again, posted);
        assert_eq!(second, first);
    }
    assert!(attachments(&again.entry) <= attachments(&posted.entry));
    assert_eq!(second.len(), first.len());
    assert!(has_data(&posted.entry) == first.iter().any(|(field, _)| *field == "data"));
});

fn write(nsp: &Nsp, posted: &Posted) -> Option<Vec<(&'static str, String)>> {
    let fields = encode(nsp, posted).ok()?;
    Some(fields.into_iter().map(|(field, value)| (field, value.into_owned())).collect())
}

fn attachments(entry: &Entry) -> usize {
    match entry {
        Entry::Broadcast { args, .. }
        | Entry::Ask { args, .. }
        | Entry::ServerSide { args, .. }
        | Entry::ServerAnswer { args, .. }
        | Entry::Answer { args, .. } => args.attachments().len(),
        _ => 0,
    }
}

fn has_data(entry: &Entry) -> bool {
    !matches!(entry, Entry::Marker | Entry::Present | Entry::Closed | Entry::Claim(_) | Entry::Wake)
}
