//! RTCP of a session (RFC 3550 §6): when reports are sent, what they say, and what the peer's say.

use super::super::rtcp::{Block, Group, Item, Report, Schedule, SenderInfo, middle, parse, round_trip_ms};
use super::super::set::Destination;
use super::Turn;
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use crate::rng::Rng;
use crate::time::Instant;

/// The RTCP side of one stream.
pub(super) struct Control {
    schedule: Schedule,
    /// RFC 7022 §4.2: short-term, random.
    cname: String,
    /// Middle of the NTP time of the peer's last sender report, when it came, and whose it was.
    last_sr: Option<(u32, Instant, u32)>,
    /// RTP packets that had been sent at the last report and at the one before.
    sent_before: [u64; 2],
    any_sent: bool,
    pub(super) rtt_ms: Option<f64>,
    pub(super) remote_loss: Option<f64>,
}

impl Control {
    pub(super) fn new(now: Instant, rng: &mut Rng) -> Self {
        Self {
            schedule: Schedule::new(now, rng, group(true, false)),
            cname: rng.token(96),
            last_sr: None,
            sent_before: [0; 2],
            any_sent: false,
            rtt_ms: None,
            remote_loss: None,
        }
    }

    /// Takes a compound packet; returns the SSRC that said goodbye, if any.
    pub(super) fn handle_packet(
        &mut self,
        turn: &Turn<'_>,
        bytes: &[u8],
        out: &mut Outgoing,
        incoming: &Incoming,
    ) -> Result<Option<u32>, ()> {
        self.schedule.handle_size(bytes.len());
        let ntp = turn.epoch.ntp(turn.now);
        let mut bye = None;
        let parsed = parse(bytes, |item| match item {
            Item::Sender { ssrc, info } => self.last_sr = Some((middle(info.ntp), turn.now, ssrc)),
            Item::Block { from: _, block } if block.ssrc == out.ssrc => {
                if let Some(ms) = round_trip_ms(ntp, &block) {
                    self.rtt_ms = Some(ms);
                }
                let loss = f64::from(block.fraction) / 256.0;
                self.remote_loss = Some(loss);
                out.set_expected_loss(loss as f32);
            }
            Item::Block { .. } => {}
            // Threats A7: only of the source that we know.
            Item::Bye { ssrc } => {
                if incoming.ssrc() == Some(ssrc) {
                    bye = Some(ssrc);
                }
            }
        });
        parsed.map(|()| bye).map_err(|_| ())
    }

    /// Sends a report if it is time for one.
    pub(super) fn handle_timeout(
        &mut self,
        turn: &mut Turn<'_>,
        to: Option<Destination>,
        out: &Outgoing,
        incoming: &mut Incoming,
    ) {
        let group = group(self.we_send(out.packets), incoming.packets > 0);
        if self.schedule.handle_timeout(turn.now, turn.rng, group)
            && let Some(to) = to
        {
            self.send(turn, to, out, incoming, false);
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.schedule.poll_timeout()
    }

    /// Says goodbye for our SSRC, if anything was ever sent (RFC 3550 §6.3.7; with so few members at once).
    pub(super) fn send_bye(
        &mut self,
        turn: &mut Turn<'_>,
        to: Option<Destination>,
        out: &Outgoing,
        incoming: &mut Incoming,
    ) {
        if let Some(to) = to.filter(|_| self.any_sent || out.packets > 0) {
            self.send(turn, to, out, incoming, true);
        }
    }

    fn send(&mut self, turn: &mut Turn<'_>, to: Destination, out: &Outgoing, incoming: &mut Incoming, bye: bool) {
        let sender = out.timestamp_at(turn.now).filter(|_| self.we_send(out.packets)).map(|rtp| {
            let (packets, octets) = out.counts();
            SenderInfo { ntp: turn.epoch.ntp(turn.now), rtp, packets, octets }
        });
        let report = Report { ssrc: out.ssrc, sender, block: self.block(turn.now, incoming), cname: &self.cname, bye };
        if let Some(length) = turn.outbox.push(to, |buf| report.write(buf).ok()) {
            self.schedule.handle_size(length);
            self.sent_before = [out.packets, self.sent_before[0]];
            self.any_sent = true;
        }
    }

    /// Whether anything was sent since the report before the last (§6.3.8, §6.4): that makes us a sender.
    const fn we_send(&self, packets: u64) -> bool {
        let [_, before_last] = self.sent_before;
        packets > before_last
    }

    fn block(&self, now: Instant, incoming: &mut Incoming) -> Option<Block> {
        let ssrc = incoming.ssrc()?;
        let reception = incoming.reception.as_mut()?;
        let (last_sr, since_last_sr) = match self.last_sr {
            Some((middle, at, from)) if from == ssrc => {
                (middle, (now.since(at).as_nanos() * 65_536 / 1_000_000_000).min(u128::from(u32::MAX)) as u32)
            }
            Some(_) | None => (0, 0),
        };
        Some(Block {
            ssrc,
            fraction: reception.take_fraction_lost(),
            lost: reception.cumulative_lost(),
            highest: reception.highest(),
            jitter: reception.jitter(),
            last_sr,
            since_last_sr,
        })
    }
}

fn group(we_send: bool, peer_sends: bool) -> Group {
    Group { members: 2, senders: u32::from(we_send) + u32::from(peer_sends), we_send, bandwidth: BANDWIDTH }
}

/// 5 % of 80 kbit/s, in octets per second.
const BANDWIDTH: u32 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_sent_nothing_for_two_reports_is_no_sender_any_more() {
        let mut control = Control::new(Instant::ZERO, &mut Rng::new([1; 32]));
        assert!(!control.we_send(0) && control.we_send(1));
        let reports: Vec<_> = [10, 10, 10, 10]
            .map(|packets| {
                let sender = control.we_send(packets);
                control.sent_before = [packets, control.sent_before[0]];
                sender
            })
            .to_vec();
        assert_eq!(reports, [true, true, false, false]);
    }
}
