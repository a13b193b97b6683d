//! Every text is a query with each key once and the last value kept; arguments that were never validated are survived.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rill::internals::codec::args::Args;
use rill::internals::codec::query::Query;

fuzz_target!(|text: &str| {
    let query = Query::parse(text);
    let mut last = None;
    for (key, value) in query.iter() {
        assert_eq!(query.get(key), Some(value));
        assert!(last < Some(key), "each key once");
        last = Some(key);
    }
    if text != "x" && !text.contains(['&', '=', '%', '+']) {
        assert_eq!(Query::parse(&format!("x=1&x={text}&{text}=2&&y=%78")).get("x"), Some(text));
    }

    for attachments in 0..3 {
        let args = Args::from_wire(text.to_owned(), vec![Bytes::from_static(b"x"); attachments]);
        let len = args.len();
        assert!(args.get(len).is_none() && args.select(len).is_none());
        for i in 0..len.min(9) {
            let _ = (args.get(i), args.value(i), args.string(i));
            if let Some(one) = args.select(i) {
                assert!(one.attachments().len() <= attachments);
                assert!(one.attachments().is_empty() || one.text().contains("{\"_placeholder\":true,\"num\":0}"));
            }
            assert!(args.binary(i).is_none() || attachments > 0);
        }
    }
});
