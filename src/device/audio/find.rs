//! Which sound cards there are, which one a name means, and how it is to be opened.

use super::{DeviceError, Direction};
use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{BufferSize, ErrorKind, HostId, SampleFormat, StreamConfig, SupportedBufferSize, SupportedStreamConfig};

/// A row of `bellwire devices list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Stable: the same after the next start of the machine.
    pub id: String,
    /// For people.
    pub name: String,
    /// Can be a microphone.
    pub input: bool,
    /// Can be a loudspeaker.
    pub output: bool,
    /// What `default` means as a microphone, as a loudspeaker.
    pub default: (bool, bool),
    /// Samples per second and channels that it prefers, where it tells.
    pub form: Option<(u32, u16)>,
}

/// A device and how to open it.
pub struct Found {
    /// cpal's handle.
    pub device: cpal::Device,
    /// For people.
    pub name: String,
    /// Which way sound goes.
    pub direction: Direction,
    /// How its samples look.
    pub format: SampleFormat,
    /// Rate, channels and period.
    pub config: StreamConfig,
}

/// How often the sound moved at once was doubled because the machine could not keep up with less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience(u8);

impl Patience {
    /// The next more patient one, as long as a conversation is possible.
    pub fn more(self) -> Option<Self> {
        (self.0 < 3).then_some(Self(self.0 + 1))
    }
}

impl Found {
    /// The error that is told when it cannot be used.
    pub fn slug(&self) -> &'static str {
        missing(self.direction)
    }
}

/// The devices of the sound system in use, and its name; with `all` also other ways to the same devices.
pub fn list(all: bool) -> (String, Vec<Listed>) {
    let host = cpal::default_host();
    let id = |device: Option<cpal::Device>| device.and_then(|device| Some(device.id().ok()?.to_string()));
    let defaults = (id(host.default_input_device()), id(host.default_output_device()));
    let mut listed: Vec<Listed> = Vec::new();
    for device in host.devices().into_iter().flatten() {
        let Ok(id) = device.id() else { continue };
        let text = id.to_string();
        let default = (defaults.0.as_ref() == Some(&text), defaults.1.as_ref() == Some(&text));
        // Not even asked what it can: some, such as JACK, have much to say about not being there.
        if !all && default == (false, false) && id.host() == HostId::Alsa && is_alias(id.id()) {
            continue;
        }
        let (input, output) = (device.default_input_config().ok(), device.default_output_config().ok());
        if input.is_none() && output.is_none() {
            continue;
        }
        let form = input.as_ref().or(output.as_ref()).map(|config| (config.sample_rate(), config.channels()));
        listed.push(Listed {
            name: name_of(&device),
            input: input.is_some(),
            output: output.is_some(),
            default,
            form,
            id: text,
        });
    }
    (host.id().name().to_owned(), listed)
}

/// Whether `default` is a microphone that somebody could speak into, rather than what the loudspeaker plays.
pub fn has_microphone() -> bool {
    let usable = |device: &cpal::Device| {
        let monitor = device.id().is_ok_and(|id| id.id().ends_with(".monitor"));
        !monitor && device.default_input_config().is_ok()
    };
    cpal::default_host().default_input_device().as_ref().is_some_and(usable)
}

/// The device that `name` means: `default`, its id, its name, or a part of either that is like no other's.
/// `patience` says how much sound is to be moved at once.
///
/// # Errors
/// [`DeviceError`] when there is no such device, or the sound system cannot tell how to open it.
pub fn device(name: &str, direction: Direction, patience: Patience) -> Result<Found, DeviceError> {
    let host = cpal::default_host();
    let device = if name == "default" {
        let device = match direction {
            Direction::Capture => host.default_input_device(),
            Direction::Playback => host.default_output_device(),
        };
        device.ok_or_else(|| none(direction, &host))?
    } else {
        named(&host, name, direction)?
    };
    let label = name_of(&device);
    let preferred = match direction {
        Direction::Capture => device.default_input_config(),
        Direction::Playback => device.default_output_config(),
    };
    let preferred = preferred.map_err(|error| failed(direction, &label, &error))?;
    let (format, config) = form(&device, &preferred, direction, patience).ok_or_else(|| DeviceError {
        slug: missing(direction),
        cause: format!("{label} has no form of sound that is understood"),
    })?;
    Ok(Found { device, name: label, direction, format, config })
}

fn named(host: &cpal::Host, name: &str, direction: Direction) -> Result<cpal::Device, DeviceError> {
    let fits = |device: &cpal::Device| match direction {
        Direction::Capture => device.default_input_config().is_ok(),
        Direction::Playback => device.default_output_config().is_ok(),
    };
    let mut all: Vec<cpal::Device> = host.devices().into_iter().flatten().collect();
    let labels: Vec<(String, String)> =
        all.iter().map(|device| (device.id().map(|id| id.to_string()).unwrap_or_default(), name_of(device))).collect();
    // Many cards are asked whether they can do it, which opens them: only those whose name fits.
    let place = best(&labels, name, |place| all.get(place).is_some_and(fits));
    match place {
        Some(place) => Ok(all.swap_remove(place)),
        None => Err(DeviceError {
            slug: missing(direction),
            cause: format!("{} lists no {} like \"{name}\"", host.id().name(), word(direction)),
        }),
    }
}

/// The place of the label that `name` means: the id, the id without the sound system, the name, a part of either.
fn best(labels: &[(String, String)], name: &str, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let wanted = name.to_lowercase();
    let bare = |id: &str| id.split_once(':').map_or_else(String::new, |(_, bare)| bare.to_lowercase());
    let rank = |(id, label): &(String, String)| {
        let (id, label) = (id.to_lowercase(), label.to_lowercase());
        if id == wanted {
            Some(0)
        } else if bare(&id) == wanted {
            Some(1)
        } else if label == wanted {
            Some(2)
        } else if label.contains(&wanted) {
            Some(3)
        } else if id.contains(&wanted) {
            Some(4)
        } else {
            None
        }
    };
    let mut ranked: Vec<(u8, usize)> =
        labels.iter().enumerate().filter_map(|(place, label)| Some((rank(label)?, place))).collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, place)| place).find(|&place| fits(place))
}

/// How to open a device: as it prefers where we can, else at the nearest rate and in the best form of sample.
fn form(
    device: &cpal::Device,
    preferred: &SupportedStreamConfig,
    direction: Direction,
    patience: Patience,
) -> Option<(SampleFormat, StreamConfig)> {
    let pulse = device.id().is_ok_and(|id| id.host() != HostId::Alsa);
    let config = |channels: u16, rate: u32, sizes: SupportedBufferSize| StreamConfig {
        channels,
        sample_rate: rate,
        buffer_size: BufferSize::Fixed(period(rate, sizes, pulse, patience)),
    };
    if pulse && RATES.contains(&preferred.sample_rate()) {
        // A sound server mixes channels and converts samples itself, and knows where its channels are.
        let config = config(1, preferred.sample_rate(), *preferred.buffer_size());
        return Some((SampleFormat::I16, config));
    }
    let (format, rate) = (preferred.sample_format(), preferred.sample_rate());
    if RATES.contains(&rate) && FORMATS.contains(&format) {
        return Some((format, config(preferred.channels(), rate, *preferred.buffer_size())));
    }
    let ranges: Vec<_> = match direction {
        Direction::Capture => device.supported_input_configs().ok()?.collect(),
        Direction::Playback => device.supported_output_configs().ok()?.collect(),
    };
    let usable = ranges.iter().filter_map(|range| {
        let format = FORMATS.iter().position(|format| *format == range.sample_format())?;
        let least = range.min_sample_rate().max(*RATES.start());
        let most = range.max_sample_rate().min(*RATES.end());
        (least <= most).then(|| (format, range.channels(), rate.clamp(least, most), *range.buffer_size()))
    });
    let (format, channels, rate, sizes) = usable.min_by_key(|(format, channels, ..)| (*format, *channels))?;
    Some((FORMATS[format], config(channels, rate, sizes)))
}

/// Frames that move at once. A sound server keeps time by itself and can be asked for little; behind ALSA there may be anything,
/// and plugins in particular lose sound when asked for less than about 20 ms or for what is no power of two.
fn period(rate: u32, sizes: SupportedBufferSize, pulse: bool, patience: Patience) -> u32 {
    let least = if pulse { rate / 1000 * PULSE_MS } else { (rate / 1000 * ALSA_MS).next_power_of_two() };
    let wanted = least << patience.0;
    match sizes {
        SupportedBufferSize::Range { min, max } if min <= max => wanted.clamp(min, max),
        SupportedBufferSize::Range { .. } | SupportedBufferSize::Unknown => wanted,
    }
}

/// What is said when a device cannot be used, by the kind of the error.
pub(super) fn failed(direction: Direction, name: &str, error: &cpal::Error) -> DeviceError {
    let kind = error.kind();
    let slug = if kind == ErrorKind::DeviceBusy {
        "audio.busy"
    } else if kind == ErrorKind::PermissionDenied {
        "audio.forbidden"
    } else {
        missing(direction)
    };
    DeviceError { slug, cause: format!("{name}: {error}") }
}

fn none(direction: Direction, host: &cpal::Host) -> DeviceError {
    DeviceError { slug: missing(direction), cause: format!("{} lists no {}", host.id().name(), word(direction)) }
}

fn missing(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "audio.no-input",
        Direction::Playback => "audio.no-output",
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "microphone",
        Direction::Playback => "loudspeaker",
    }
}

fn name_of(device: &cpal::Device) -> String {
    let id = || device.id().map_or_else(|_| "a device without a name".to_owned(), |id| id.to_string());
    device.description().map_or_else(|_| id(), |description| description.name().to_owned())
}

/// Names that alsa-lib gives besides the ones that a call is made with.
fn is_alias(pcm: &str) -> bool {
    let kind = pcm.split(':').next().unwrap_or(pcm);
    ALIASES.contains(&kind) || kind.starts_with("surround")
}

const ALIASES: &[&str] = &[
    "null",
    "hw",
    "dmix",
    "dsnoop",
    "dshare",
    "front",
    "iec958",
    "spdif",
    "usbstream",
    "lavrate",
    "samplerate",
    "speexrate",
    "speex",
    "jack",
    "oss",
    "upmix",
    "vdownmix",
    "modem",
    "phoneline",
];

/// Rates that can be converted to a codec's.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Forms of samples, best first.
const FORMATS: [SampleFormat; 10] = [
    SampleFormat::I16,
    SampleFormat::F32,
    SampleFormat::I32,
    SampleFormat::I24,
    SampleFormat::U16,
    SampleFormat::U24,
    SampleFormat::U32,
    SampleFormat::F64,
    SampleFormat::U8,
    SampleFormat::I8,
];
const PULSE_MS: u32 = 5;
const ALSA_MS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> Option<usize> {
        let labels = [
            ("alsa:default", "Default Audio Device"),
            ("alsa:hw:CARD=Headset,DEV=0", "USB Headset, USB Audio"),
            ("alsa:plughw:CARD=Headset,DEV=0", "USB Headset, USB Audio"),
            ("alsa:pulse", "PulseAudio Sound Server"),
        ];
        best(&labels.map(|(id, name)| (id.to_owned(), name.to_owned())), name, |place| place != 1)
    }

    #[test]
    fn a_device_is_found_by_id_name_or_part_of_it_if_it_can_be_used() {
        assert_eq!(find("alsa:pulse"), Some(3));
        assert_eq!(find("pulse"), Some(3));
        assert_eq!(find("plughw:card=headset,dev=0"), Some(2));
        assert_eq!(find("usb headset"), Some(2), "the first one cannot be used");
        assert_eq!(find("headset"), Some(2));
        assert_eq!(find("sound server"), Some(3));
        assert_eq!(find("bluetooth"), None);
    }

    #[test]
    fn a_period_suits_the_sound_system_and_what_the_card_can() {
        let any = SupportedBufferSize::Unknown;
        let first = Patience::default();
        assert_eq!(period(48_000, any, true, first), 240);
        assert_eq!(period(48_000, any, false, first), 1024);
        assert_eq!(period(8_000, any, false, first), 256);
        assert_eq!(period(48_000, SupportedBufferSize::Range { min: 2048, max: 4096 }, false, first), 2048);
        assert_eq!(period(48_000, SupportedBufferSize::Range { min: 1, max: 512 }, false, first), 512);
        let steps = std::iter::successors(Some(first), |patience| patience.more());
        assert_eq!(
            steps.map(|patience| period(48_000, any, true, patience)).collect::<Vec<_>>(),
            [240, 480, 960, 1920]
        );
    }
}
