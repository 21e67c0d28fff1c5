//! What a run is for, the sound of its calls, and what came of it.

use crate::api::{AudioInfo, AudioRoute};
use crate::id::AccountId;
use crate::media::command::{AudioSink, AudioSource, MediaStats};
use std::time::Duration;

/// What the run is for.
#[derive(Debug, Clone)]
pub(crate) enum Goal {
    /// One call.
    Call {
        target: String,
        account: Option<AccountId>,
        sound: Sound,
        dtmf: Option<String>,
        /// Handed over to whom, once answered.
        transfer: Option<String>,
        duration: Option<Duration>,
        /// Register first (`try`).
        after_register: bool,
    },
    /// Calls of others.
    Listen { sound: Sound, auto_answer: AutoAnswer, once: bool },
    /// A registration.
    Register { accounts: usize, once: bool },
    /// OPTIONS.
    Ping { target: String },
    /// The PBX alone.
    Pbx,
}

/// Source and sink of each call; `{call}` in a file name becomes the call's name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sound {
    pub(crate) source: Option<AudioSource>,
    pub(crate) sink: Option<AudioSink>,
    /// Those of calls without an account, for what is not said here.
    pub(crate) base: Option<AudioRoute>,
    /// Those of each account.
    pub(crate) accounts: Vec<AudioRoute>,
}

/// Which calls the session answers by itself, and how soon.
#[derive(Debug, Clone, Default)]
pub(crate) struct AutoAnswer {
    /// All of them.
    pub(crate) all: Option<Duration>,
    /// Those to each account.
    pub(crate) accounts: Vec<Option<Duration>>,
}

impl AutoAnswer {
    /// How soon a call to `account` is answered; `None`: somebody has to.
    pub(crate) fn delay(&self, account: Option<AccountId>) -> Option<Duration> {
        let own = account.and_then(|a| usize::try_from(a.0).ok()).and_then(|n| self.accounts.get(n).copied().flatten());
        self.all.or(own)
    }
}

impl Sound {
    /// Whether calls need a route of their own.
    pub(crate) fn is_own(&self) -> bool {
        let mut bases = self.base.iter().chain(&self.accounts);
        self.source.is_some() || self.sink.is_some() || bases.any(|b| has_name(&b.sink))
    }

    /// The sound of the call with this name; `None`: as its account says.
    pub(super) fn route(&self, call: &str, account: Option<AccountId>) -> Option<AudioRoute> {
        let own = account.and_then(|a| usize::try_from(a.0).ok()).and_then(|n| self.accounts.get(n));
        let base = own.or(self.base.as_ref()).filter(|_| self.is_own())?.clone();
        let source = self.source.clone().unwrap_or(base.source);
        let sink = match self.sink.clone().unwrap_or(base.sink) {
            AudioSink::File(path) => AudioSink::File(path.replace("{call}", call)),
            AudioSink::DeviceAndFile(device, path) => AudioSink::DeviceAndFile(device, path.replace("{call}", call)),
            other @ (AudioSink::None | AudioSink::Device(_)) => other,
        };
        Some(AudioRoute { source, sink })
    }
}

fn has_name(sink: &AudioSink) -> bool {
    match sink {
        AudioSink::File(path) | AudioSink::DeviceAndFile(_, path) => path.contains("{call}"),
        AudioSink::None | AudioSink::Device(_) => false,
    }
}

/// What the last call of a run was like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) answered_ms: Option<u64>,
    pub(crate) audio: Option<AudioInfo>,
    pub(crate) stats: Option<MediaStats>,
    /// The last figures that were known, which `stats` may lack.
    pub(crate) rtt_ms: Option<f64>,
    pub(crate) mos: Option<f64>,
}

/// Names around the failures of one account.
#[derive(Debug, Clone, Default)]
pub(crate) struct AccountNames {
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) server: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> AudioRoute {
        AudioRoute { source: AudioSource::Echo, sink: AudioSink::None }
    }

    #[test]
    fn each_call_has_a_file_of_its_own() {
        let sink = Some(AudioSink::File("rec/{call}.wav".into()));
        let sound = Sound { sink, base: Some(echo()), ..Sound::default() };
        let route = sound.route("c7", None).unwrap();
        assert_eq!(route.sink, AudioSink::File("rec/c7.wav".into()));
        assert_eq!(route.source, AudioSource::Echo);
    }

    #[test]
    fn calls_without_wishes_take_the_sound_of_their_account() {
        assert_eq!(Sound { base: Some(echo()), ..Sound::default() }.route("c1", None), None);
    }

    #[test]
    fn the_call_of_an_account_keeps_what_that_account_says() {
        let quiet = AudioRoute { source: AudioSource::Silence, sink: AudioSink::File("b-{call}.wav".into()) };
        let sound = Sound { base: Some(echo()), accounts: vec![echo(), quiet], ..Sound::default() };
        let route = sound.route("c2", Some(AccountId(1))).unwrap();
        assert_eq!(route, AudioRoute { source: AudioSource::Silence, sink: AudioSink::File("b-c2.wav".into()) });
        assert_eq!(sound.route("c3", Some(AccountId(0))), Some(echo()));
    }

    #[test]
    fn only_accounts_that_say_so_are_answered_by_themselves() {
        let second = Duration::from_secs(1);
        let own = AutoAnswer { all: None, accounts: vec![None, Some(second)] };
        assert_eq!([None, Some(0), Some(1)].map(|a| own.delay(a.map(AccountId))), [None, None, Some(second)]);
        let all = AutoAnswer { all: Some(Duration::ZERO), ..own };
        assert_eq!(all.delay(Some(AccountId(1))), Some(Duration::ZERO));
    }
}
