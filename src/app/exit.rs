//! [`Exit`]: what the process says to whoever started it. The one table behind `--help`, `explain` and the tests.

use std::process::{ExitCode, Termination};

/// Exit codes; the numbers never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done; for a call: answered and ended normally.
    Done = 0,
    /// Unexpected: a bug.
    Bug = 1,
    /// Wrong usage (the command-line parser's own value).
    Usage = 2,
    /// The config is missing or invalid.
    Config = 3,
    /// The login was refused.
    LoginRefused = 4,
    /// The server was not reached.
    NotReached = 5,
    /// Encryption refused, or required but not offered.
    Encryption = 6,
    /// Not answered.
    NotAnswered = 7,
    /// Busy.
    Busy = 8,
    /// Declined.
    Declined = 9,
    /// No such number.
    NoSuchNumber = 10,
    /// No common media.
    NoCommonMedia = 11,
    /// A microphone, speaker or sound file cannot be used.
    Device = 12,
    /// A local port is in use or not permitted.
    Port = 13,
    /// One-way sound or none.
    Media = 14,
    /// Any other SIP failure.
    OtherSip = 16,
    /// A repeated panic: the program cannot go on.
    Panic = 70,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// All codes in order.
    pub const ALL: [Self; 19] = [
        Self::Done,
        Self::Bug,
        Self::Usage,
        Self::Config,
        Self::LoginRefused,
        Self::NotReached,
        Self::Encryption,
        Self::NotAnswered,
        Self::Busy,
        Self::Declined,
        Self::NoSuchNumber,
        Self::NoCommonMedia,
        Self::Device,
        Self::Port,
        Self::Media,
        Self::OtherSip,
        Self::Panic,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; for a call: answered and ended normally",
            Self::Bug => "unexpected failure (a bug)",
            Self::Usage => "wrong usage",
            Self::Config => "config missing or invalid",
            Self::LoginRefused => "login refused (401, 403, 407)",
            Self::NotReached => "server not reached: name, refused, timeout (408 by timer, 503)",
            Self::Encryption => "encryption refused, or required but not offered (494)",
            Self::NotAnswered => "not answered (408, 480, 487)",
            Self::Busy => "busy (486, 600)",
            Self::Declined => "declined (603, 607, 608)",
            Self::NoSuchNumber => "no such number (404, 410, 484, 604)",
            Self::NoCommonMedia => "no common media (415, 488, 606)",
            Self::Device => "microphone, speaker or sound file not usable",
            Self::Port => "local port in use or not permitted",
            Self::Media => "media problem: one-way or no audio",
            Self::OtherSip => "any other SIP failure",
            Self::Panic => "a repeated panic was contained, but the program cannot go on",
            Self::Interrupted => "ended by SIGINT",
            Self::Terminated => "ended by SIGTERM",
        }
    }

    /// The exit code for a SIP status that ended what was asked for.
    pub const fn for_status(code: u16) -> Self {
        match code {
            200..=299 => Self::Done,
            401 | 403 | 407 => Self::LoginRefused,
            503 => Self::NotReached,
            494 => Self::Encryption,
            408 | 480 | 487 => Self::NotAnswered,
            486 | 600 => Self::Busy,
            603 | 607 | 608 => Self::Declined,
            404 | 410 | 484 | 604 => Self::NoSuchNumber,
            415 | 488 | 606 => Self::NoCommonMedia,
            _ => Self::OtherSip,
        }
    }

    /// The table as it stands below `--help`.
    pub fn table() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            text += &format!("  {:>3}  {}\n", exit.code(), exit.meaning());
        }
        text
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_of_the_table_has_its_code() {
        for (status, code) in [(200, 0), (401, 4), (403, 4), (407, 4), (503, 5), (494, 6), (408, 7), (480, 7), (487, 7)]
        {
            assert_eq!(Exit::for_status(status).code(), code, "{status}");
        }
        for (status, code) in [(486, 8), (600, 8), (603, 9), (607, 9), (608, 9), (404, 10), (410, 10), (484, 10)] {
            assert_eq!(Exit::for_status(status).code(), code, "{status}");
        }
        for (status, code) in [(604, 10), (415, 11), (488, 11), (606, 11), (500, 16), (482, 16), (301, 16)] {
            assert_eq!(Exit::for_status(status).code(), code, "{status}");
        }
    }

    #[test]
    fn codes_rise_and_differ() {
        assert!(Exit::ALL.windows(2).all(|pair| pair[0].code() < pair[1].code()));
    }
}
