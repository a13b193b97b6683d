//! The Socket.IO client: a case for each rule and each error, then random packets.

use super::*;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { connect_ms: 1_000, attachments_ms: 500, max_payload: 10, attachments_bytes: 20, ..Limits::default() }
}

/// A client that is in `/` and `/custom`.
fn client() -> Client {
    let mut client = Client::new(Time(0), &limits());
    for (packet, nsp) in [("0", "/"), ("0/custom,{\"a\":1}", "/custom")] {
        assert!(matches!(client.text(Time(0), packet, &limits()), Ok(Action::Connect { .. })));
        client.connected(nsp);
    }
    client
}

fn args(text: &str, attachments: &[&'static [u8]]) -> Args {
    Args::from_wire(text.to_owned(), attachments.iter().map(|data| Bytes::from_static(data)).collect())
}

#[test]
fn what_packets_ask_for() {
    let event = |nsp: &'static str, name: &'static str, text: &str, id| {
        Ok(Action::Event { nsp: nsp.into(), name: name.into(), args: args(text, &[]), id })
    };
    for (packet, want) in [
        (r#"2["message",1,"2",{"3":[true]}]"#, event("/", "message", r#"1,"2",{"3":[true]}"#, None)),
        (r#"2456["message-with-ack",1]"#, event("/", "message-with-ack", "1", Some(456))),
        (r#"2/custom,["hi"]"#, event("/custom", "hi", "", None)),
        (r#"37[5]"#, Ok(Action::Ack { nsp: "/".into(), id: 7, args: args("5", &[]) })),
        ("1/custom", Ok(Action::Disconnect { nsp: "/custom" })),
        ("0/other,{}", Ok(Action::Connect { nsp: "/other", auth: Some("{}".into()) })),
        ("0", Err(ClientError::AlreadyConnected)),
        (r#"2/other,["hi"]"#, Err(ClientError::NotConnected)),
        ("1/other", Err(ClientError::NotConnected)),
    ] {
        assert_eq!(client().text(Time(1), packet, &limits()), want, "{packet}");
    }
    for garbage in ["", "abc", "2{}", "2abc[\"x\"]", "9", "450-[\"x\"]", "0[]", "2[\"connect\"]"] {
        assert!(matches!(client().text(Time(1), garbage, &limits()), Err(ClientError::Packet(_))), "{garbage}");
    }
}

#[test]
fn nothing_before_the_answer_to_connect() {
    let mut client = Client::new(Time(0), &limits());
    assert_eq!(client.text(Time(0), "2[\"hi\"]", &limits()), Err(ClientError::NotConnected));
    client.text(Time(0), "0", &limits()).unwrap();
    assert!(client.is_connecting("/"));
    assert_eq!(client.text(Time(0), "2[\"hi\"]", &limits()), Err(ClientError::NotConnected));
    assert_eq!(client.text(Time(0), "0", &limits()), Err(ClientError::AlreadyConnected));
    client.left("/");
    assert!(matches!(client.text(Time(0), "0", &limits()), Ok(Action::Connect { .. })));
}

#[test]
fn who_was_removed_may_still_have_packets_under_way_and_may_come_back() {
    let mut client = client();
    client.removed("/custom");
    assert!(matches!(client.text(Time(1), "2/custom,[\"late\"]", &limits()), Ok(Action::Event { .. })));
    assert!(matches!(client.text(Time(1), "0/custom,", &limits()), Ok(Action::Connect { .. })));
    assert!(client.is_connecting("/custom"));
}

const HEADER: &str = r#"52-["up",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#;

#[test]
fn binary_packets_are_whole_or_nothing() {
    let mut client = client();
    assert_eq!(client.text(Time(1), HEADER, &limits()), Ok(Action::Wait));
    assert_eq!(client.binary(Time(1), Bytes::from_static(b"one"), &limits()), Ok(Action::Wait));
    match client.binary(Time(1), Bytes::from_static(b"two"), &limits()) {
        Ok(Action::Event { name, args, .. }) => {
            assert_eq!(
                (&*name, args.attachments()),
                ("up", &[Bytes::from_static(b"one"), Bytes::from_static(b"two")][..])
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.binary(Time(1), Bytes::from_static(b"three"), &limits()), Err(ClientError::StrayBinary));
    assert_eq!(client.text(Time(1), r#"61-9[{"_placeholder":true,"num":0}]"#, &limits()), Ok(Action::Wait));
    assert!(matches!(client.binary(Time(1), Bytes::new(), &limits()), Ok(Action::Ack { id: 9, .. })));
}

#[test]
fn attachments_have_their_limits() {
    let mut late = client();
    late.text(Time(1), HEADER, &limits()).unwrap();
    assert_eq!(late.next_timeout(), Some(Time(501)));
    let too_late = Err(ClientError::AttachmentsLate(500));
    assert_eq!((late.timeout(Time(500)), late.timeout(Time(501))), (Ok(()), too_late));
    let mut text = client();
    text.text(Time(1), HEADER, &limits()).unwrap();
    assert_eq!(text.text(Time(1), "2[\"hi\"]", &limits()), Err(ClientError::TextForAttachment));
}

/// Each may be as large as a message, which the transport sees to; together they have a limit of their own, and it is exact.
#[test]
fn attachments_have_a_sum() {
    let ten = Bytes::from_static(b"1234567890");
    let mut client = client();
    client.text(Time(1), HEADER, &limits()).unwrap();
    assert_eq!(client.binary(Time(1), ten.clone(), &limits()), Ok(Action::Wait));
    assert!(matches!(client.binary(Time(1), ten.clone(), &limits()), Ok(Action::Event { .. })));
    client.text(Time(1), HEADER, &limits()).unwrap();
    assert_eq!(client.binary(Time(1), ten, &limits()), Ok(Action::Wait));
    let one_more = client.binary(Time(1), Bytes::from_static(b"12345678901"), &limits());
    assert_eq!(one_more, Err(ClientError::AttachmentsTooLarge(20)));
    let told = ClientError::AttachmentsTooLarge(20).to_string();
    assert_eq!(told, "attachments of one packet larger than 20 bytes together");
}

/// What counts is the time since something came: a header, a part of an attachment, a whole one.
#[test]
fn attachments_are_judged_by_progress() {
    let mut client = client();
    client.progress(Time(1));
    assert_eq!(client.next_timeout(), None, "nothing is due");
    client.text(Time(10), HEADER, &limits()).unwrap();
    assert_eq!(client.next_timeout(), Some(Time(510)));
    for now in [509, 1_008, 1_507, 90_000] {
        client.progress(Time(now));
        assert_eq!((client.timeout(Time(now + 499)), client.next_timeout()), (Ok(()), Some(Time(now + 500))));
    }
    client.binary(Time(90_400), Bytes::new(), &limits()).unwrap();
    assert_eq!(client.next_timeout(), Some(Time(90_900)));
    assert_eq!(client.timeout(Time(90_900)), Err(ClientError::AttachmentsLate(500)));
    client.binary(Time(90_899), Bytes::new(), &limits()).unwrap();
    assert_eq!(client.next_timeout(), None, "all are here");
}

/// RFC 6455 section 5.5: a reason has room for 123 bytes.
#[test]
fn every_reason_fits_into_a_close_frame() {
    for error in [
        ClientError::Packet(SocketError::TooManyAttachments(usize::MAX)),
        ClientError::TextForAttachment,
        ClientError::StrayBinary,
        ClientError::AttachmentsTooLarge(usize::MAX),
        ClientError::AttachmentsLate(u64::MAX),
        ClientError::NotConnected,
        ClientError::AlreadyConnected,
        ClientError::ConnectLate(u64::MAX),
    ] {
        assert!(error.to_string().len() <= 123, "{error}");
        assert!(matches!(error.close_code(), 1008 | 1009));
    }
}

#[test]
fn a_first_namespace_in_time() {
    let mut client = Client::new(Time(0), &limits());
    assert_eq!(client.next_timeout(), Some(Time(1_000)));
    assert_eq!(
        (client.timeout(Time(999)), client.timeout(Time(1_000))),
        (Ok(()), Err(ClientError::ConnectLate(1_000)))
    );
    client.text(Time(1), "0", &limits()).unwrap();
    assert_eq!(client.timeout(Time(1_000)), Err(ClientError::ConnectLate(1_000)));
    client.connected("/");
    assert_eq!((client.timeout(Time(1_000)), client.next_timeout()), (Ok(()), None));
}

proptest! {
    /// Any packets in any order: no panic, attachments are handed out complete or not at all, and namespaces don't pile up.
    #[test]
    fn random_packets(packets in prop::collection::vec(
        prop_oneof![
            prop::sample::select(vec!["0", "1", "0/a,", "1/a", "2[\"x\"]", "2/a,[\"x\",1]", HEADER, "31[]", "4", "51-[\"x\"]", "b"]).prop_map(str::to_owned),
            "[0-9]{1,3}-?(/[a-z]{0,2},)?[0-9]{0,3}\\[?.{0,8}\\]?",
        ], 1..40)) {
        let mut client = Client::new(Time(0), &limits());
        for packet in packets {
            let action = match packet.as_str() {
                "b" => client.binary(Time(1), Bytes::from_static(b"x"), &limits()),
                text => client.text(Time(1), text, &limits()),
            };
            match action {
                Ok(Action::Connect { nsp, .. }) => client.connected(nsp),
                Ok(Action::Event { args, .. } | Action::Ack { args, .. }) => prop_assert!(args.attachments().len() <= 10),
                Ok(Action::Wait) => prop_assert!(client.next_timeout().is_some()),
                Ok(Action::Disconnect { .. }) => {}
                Err(_) => return Ok(()),
            }
            prop_assert!(client.namespaces() <= 40);
        }
    }
}
