//! How servers prove to each other that they are of one cluster: heartbeats are signed with a secret that all of them know.
//!
//! HMAC with SHA-1 (RFC 2104), over everything that another server acts on and the time; RFC 6151 and later have nothing against SHA-1 in it.
//! A signature counts once, and for some minutes: so a copy of an old heartbeat is worth nothing.

use crate::id::Time;
use crate::server::log::entry::Member;
use sha1::{Digest, Sha1};
use std::fmt::Write as _;

/// Bytes of a block of SHA-1.
const BLOCK: usize = 64;
/// Milliseconds by which the clocks of servers may differ.
const SKEW: u64 = 300_000;

/// The proof of a heartbeat: its time and its signature.
pub(crate) fn sign(secret: &str, uid: &str, member: &Member, now: Time) -> Box<str> {
    let mut text = format!("{}.", now.0);
    let signature = hmac(secret.as_bytes(), said(uid, member, now).as_bytes());
    for byte in signature {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// When a heartbeat was signed, if it was signed with this secret, and not long ago.
pub(crate) fn verify(secret: &str, uid: &str, member: &Member, now: Time) -> Option<Time> {
    let (at, _) = member.proof.split_once('.')?;
    let at = Time(at.parse().ok()?);
    let right = sign(secret, uid, member, at);
    let differs = right.bytes().zip(member.proof.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    let same = differs == 0 && right.len() == member.proof.len();
    (same && now.0.abs_diff(at.0) <= SKEW).then_some(at)
}

/// What is signed. Each text with its length, so that none can pass for a part of another.
fn said(uid: &str, member: &Member, at: Time) -> String {
    let Member { name, tag, address, clients: _, proof: _ } = member;
    let texts = [uid, name, tag, address].into_iter();
    texts.fold(at.0.to_string(), |said, text| format!("{said},{}:{text}", text.len()))
}

fn hmac(secret: &[u8], text: &[u8]) -> [u8; 20] {
    let mut key = [0; BLOCK];
    let long = Sha1::digest(secret);
    let secret = if secret.len() > BLOCK { &long[..] } else { secret };
    key.iter_mut().zip(secret).for_each(|(byte, given)| *byte = *given);
    let inner = Sha1::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha1::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202 section 3.
    #[test]
    fn the_vectors_of_the_rfc() {
        let hex = |bytes: [u8; 20]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for (key, text, want) in [
            (&[0x0b; 20][..], &b"Hi There"[..], "b617318655057264e28bc0b6fb378c8ef146be00"),
            (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
        ] {
            assert_eq!(hex(hmac(key, text)), want);
        }
    }

    #[test]
    fn whatever_another_server_acts_on_is_signed() {
        let plain = |name: &str, tag: &str, address: &str| Member {
            name: name.into(),
            tag: tag.into(),
            address: address.into(),
            clients: 1,
            proof: "".into(),
        };
        let signed = |at| {
            let member = plain("one", "ab", "10.0.0.1:3000");
            Member { proof: sign("sesame", "uid", &member, Time(at)), ..member }
        };
        let now = Time(10_000_000);
        assert_eq!(verify("sesame", "uid", &signed(now.0), now), Some(now));
        assert_eq!(verify("sesame", "uid", &Member { clients: 9, ..signed(now.0) }, now), Some(now));
        for (secret, uid, member) in [
            ("other", "uid", signed(now.0)),
            ("sesame", "evil", signed(now.0)),
            ("sesame", "uid", Member { proof: signed(now.0).proof, ..plain("one", "ab", "10.6.6.6:3000") }),
            ("sesame", "uid", Member { proof: signed(now.0).proof, ..plain("one", "Z", "10.0.0.1:3000") }),
            ("sesame", "uid", Member { proof: signed(now.0).proof, ..plain("onea", "b", "10.0.0.1:3000") }),
            ("sesame", "uid", plain("one", "ab", "10.0.0.1:3000")),
            ("sesame", "uid", Member { proof: "1.".into(), ..signed(now.0) }),
            ("sesame", "uid", signed(now.0 - SKEW - 1)),
            ("sesame", "uid", signed(now.0 + SKEW + 1)),
        ] {
            assert_eq!(verify(secret, uid, &member, now), None, "{member:?}");
        }
    }
}
