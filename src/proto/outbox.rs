//! What waits for one client, in order, bounded by [`Limits::unsent_bytes`](crate::limits::Limits::unsent_bytes).
//!
//! Frames leave in batches: [`Outbox::take`] hands out all that waits, and their bytes count until [`Outbox::sent`] says that the socket took them.

use crate::codec::frame::Frame;
use crate::codec::socket_packet::Frames;
use std::collections::VecDeque;

/// The client reads more slowly than others write to it, and has reached its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A bounded queue of frames for one client.
#[derive(Debug)]
pub struct Outbox {
    frames: VecDeque<Frame>,
    unsent: usize,
    limit: usize,
    base64: bool,
}

impl Outbox {
    /// An empty outbox for at most `limit` bytes; `base64` for a client that can't take binary frames (its handshake had `b64`).
    #[must_use]
    pub fn new(limit: usize, base64: bool) -> Outbox {
        Outbox { frames: VecDeque::new(), unsent: 0, limit, base64 }
    }

    /// Queues one frame. What is queued when the bound is reached stays; the caller closes the session.
    ///
    /// # Errors
    /// [`Full`]: the frame is not queued.
    pub fn push(&mut self, frame: Frame) -> Result<(), Full> {
        let unsent = self.unsent.saturating_add(frame.websocket().len());
        // A single packet may be larger than the bound: it goes out if nothing else waits.
        if unsent > self.limit && self.unsent > 0 {
            return Err(Full);
        }
        self.add(frame);
        Ok(())
    }

    fn add(&mut self, frame: Frame) {
        let frame = match self.base64 && frame.is_binary() {
            true => frame.to_base64(),
            false => frame,
        };
        self.unsent = self.unsent.saturating_add(frame.websocket().len());
        self.frames.push_back(frame);
    }

    /// Queues a Socket.IO packet: nothing comes between its header and its attachments.
    ///
    /// # Errors
    /// [`Full`]: nothing of it is queued.
    pub fn push_all(&mut self, frames: Frames) -> Result<(), Full> {
        if frames.rest.is_empty() {
            return self.push(frames.first);
        }
        let size = frames
            .rest
            .iter()
            .fold(frames.first.websocket().len(), |size, frame| size.saturating_add(frame.websocket().len()));
        // The attachments of one packet may be larger together than the bound: a client that reads what it gets must not be cut for them.
        let half = self.limit.checked_div(2).unwrap_or(0);
        if self.unsent.saturating_add(size) > self.limit && self.unsent > 0 && (size <= half || self.unsent > half) {
            return Err(Full);
        }
        for frame in std::iter::once(frames.first).chain(frames.rest) {
            self.add(frame);
        }
        Ok(())
    }

    /// Nothing waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// All that waits, in order; the queue's memory goes with it.
    #[must_use]
    pub fn take(&mut self) -> VecDeque<Frame> {
        std::mem::take(&mut self.frames)
    }

    /// The socket took `bytes` of what [`Outbox::take`] handed out.
    pub fn sent(&mut self, bytes: usize) {
        self.unsent = self.unsent.saturating_sub(bytes);
    }

    /// Bytes that the client's socket has not taken yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_they_are_sent() {
        let mut outbox = Outbox::new(20, false);
        assert_eq!(outbox.push(Frame::text("4aaaaaaa")), Ok(())); // 10 bytes with its head
        assert_eq!(outbox.push(Frame::text("4bbbbbbb")), Ok(()));
        assert_eq!(outbox.push(Frame::text("4")), Err(Full));
        assert_eq!(outbox.take().len(), 2);
        assert_eq!(outbox.push(Frame::text("4")), Err(Full));
        outbox.sent(10);
        assert_eq!(outbox.push(Frame::text("4")), Ok(()));
        assert_eq!(outbox.unsent(), 13);
    }

    #[test]
    fn one_packet_above_the_bound_goes_out_alone() {
        let mut outbox = Outbox::new(4, false);
        assert_eq!(outbox.push(Frame::text("4hello")), Ok(()));
        assert_eq!(outbox.push(Frame::text("4")), Err(Full));
    }

    /// A packet with its attachments is taken whole or not at all; one that is large itself goes out while less than half of the bound waits.
    #[test]
    fn a_packet_with_attachments_is_whole() {
        let packet = |attachments: &[usize]| Frames {
            first: Frame::text("4"), // 3 bytes with its head
            rest: attachments.iter().map(|size| Frame::binary(&vec![0; size - 2])).collect(),
        };
        for (waits, attachments, fits) in [
            (3, &[97][..], true),
            (4, &[97], true),
            (50, &[97, 900], true),
            (51, &[97, 900], false),
            (0, &[900, 900], true),
            (60, &[37], true),
            (61, &[37], false),
            (60, &[20, 18], false),
            (0, &[20, 18], true),
        ] {
            let mut outbox = Outbox::new(100, false);
            if waits > 0 {
                outbox.push(Frame::binary(&vec![0; waits - 2])).unwrap();
            }
            let pushed = outbox.push_all(packet(attachments));
            assert_eq!(pushed.is_ok(), fits, "{waits} {attachments:?}");
            let queued = usize::from(waits > 0) + if fits { 1 + attachments.len() } else { 0 };
            assert_eq!(outbox.take().len(), queued, "{waits} {attachments:?}");
        }
    }

    #[test]
    fn binary_is_text_for_a_client_that_asked_for_base64() {
        let mut outbox = Outbox::new(100, true);
        outbox.push(Frame::binary(&[1, 2, 3, 4])).unwrap();
        assert_eq!(outbox.take().pop_front().unwrap().packet(), b"bAQIDBA==");
    }
}
