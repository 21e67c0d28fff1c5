//! Handles: small numbers that name things across layers instead of references.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident($inner:ty) $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

handle!(
    /// One of our configured identities, in the order of the config file.
    AccountId(u32) "account "
);
handle!(
    /// One call as the user sees it; shown as `c1`. Never the Call-ID header.
    CallHandle(u32) "c"
);
handle!(
    /// One media session (all streams of one call leg); never reused within a run.
    MediaId(u64) "m"
);
handle!(
    /// One bound datagram socket of the driver.
    SocketId(u32) "s"
);
handle!(
    /// One listening stream socket of the driver.
    ListenerId(u32) "l"
);
handle!(
    /// One of the driver's media sets (an engine thread or a worker loop).
    SetId(u16) "set "
);
handle!(
    /// One outstanding question of the core (name, route or lease), answered once.
    RequestId(u64) "q"
);
handle!(
    /// One of the driver's sets of TLS settings (CAs, pin, own certificate); 0 trusts the system's CAs.
    #[derive(Default)]
    TlsId(u16) "tls "
);
handle!(
    /// One media transport (socket pair and remote addresses) of a [`MediaId`].
    TransportId(u16) "t"
);

/// One stream connection. The generation tells a reused slot from its predecessor, so that a
/// late event of a closed connection can never reach its successor (threats B9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId {
    /// Slot of the connection table.
    pub slot: u32,
    /// How often the slot has been used before.
    pub generation: u32,
}

impl ConnId {
    /// Slots below are chosen by the engine that asks for a connection, slots from here on by the driver that accepts one.
    pub const ACCEPTED: u32 = 1 << 31;
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn {}.{}", self.slot, self.generation)
    }
}
