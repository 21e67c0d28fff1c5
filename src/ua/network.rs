//! Another network: registrations are made anew at once, and calls that are up move to the new address (threats E3, E10).
//!
//! ```text
//!   addresses changed ─▶ registration: REGISTER from the new address
//!                     └▶ call: the way anew ─Moved─▶ new sockets ─▶ re-INVITE with them ─answer─▶ old sockets go
//! ```

use super::Ua;
use super::call::CallCommand;
use super::line::{Moving, Sound, Stage};
use crate::engine::{Lease, NetworkChange, NoLease, Output};
use crate::id::CallHandle;
use crate::time::Instant;
use std::net::IpAddr;

impl Ua {
    pub(super) fn network_changed(&mut self, now: Instant, change: &NetworkChange) {
        self.endpoint.handle_network_change(now, change);
        for id in self.registrations.keys().copied().collect::<Vec<_>>() {
            self.with_registration(id, |registration, core, config, _, _| {
                registration.handle_network_change(now, core, config, change);
            });
        }
        let gone = |lease: &Lease| !change.addresses.contains(&lease.rtp_addr.ip().to_canonical());
        let homeless: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| matches!(line.stage, Stage::Talking) && line.lease().is_some_and(|lease| gone(&lease)))
            .map(|(call, _)| *call)
            .collect();
        for call in homeless {
            self.guarded(now, call, |ua| {
                let _ = ua.with_calls(|calls, core| calls.command(now, core, call, CallCommand::Move));
            });
        }
    }

    /// The way to the peer begins at `local` now: sockets there.
    pub(super) fn move_sound(&mut self, call: CallHandle, local: IpAddr) {
        let id = self.fresh_request();
        let Some(line) = self.lines.get_mut(&call) else { return };
        if line.lease().is_none_or(|lease| lease.rtp_addr.ip() == local) || !matches!(line.sound, Sound::Open(_)) {
            return;
        }
        let group = line.group.unwrap_or(id);
        if let Moving::Leased(lease) = std::mem::replace(&mut line.moving, Moving::Asked { id }) {
            self.out.push_back(Output::Release(lease));
        }
        self.out.push_back(Output::Lease { id, local, group });
    }

    pub(super) fn use_new_lease(&mut self, now: Instant, call: CallHandle, answer: Result<Lease, NoLease>) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        match answer {
            Ok(lease) => {
                line.moving = Moving::Leased(lease);
                line.changes.move_on(now);
                self.offer_change(now, call);
            }
            Err(NoLease) => {
                line.moving = Moving::No;
                let failure = line.about.no_lease();
                self.emit(crate::api::Event::MediaWarning { call, failure });
            }
        }
    }

    /// Gives back sockets that the peer will never hear of.
    pub(super) fn forget_moving(&mut self, call: CallHandle) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        if let Moving::Leased(lease) = std::mem::replace(&mut line.moving, Moving::No) {
            self.out.push_back(Output::Release(lease));
        }
    }
}
