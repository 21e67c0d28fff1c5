//! Starting a cpal stream whose callback is nothing but [`ring`](crate::device::ring).

use super::find::Found;
use super::{DeviceError, Message};
use crate::device::ring::{Capture, Playback, Sample};
use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{ErrorKind, I24, SampleFormat, SizedSample, U24};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Starts to capture into `callback`.
///
/// # Errors
/// [`DeviceError`] says why the device does not start.
#[expect(clippy::wildcard_enum_match_arm, reason = "forms of samples that no sound card here has")]
pub fn capture(found: &Found, callback: Capture, messages: Sender<Message>) -> Result<cpal::Stream, DeviceError> {
    match found.format {
        SampleFormat::I8 => capture_as::<i8>(found, callback, messages),
        SampleFormat::I16 => capture_as::<i16>(found, callback, messages),
        SampleFormat::I24 => capture_as::<I24>(found, callback, messages),
        SampleFormat::I32 => capture_as::<i32>(found, callback, messages),
        SampleFormat::U8 => capture_as::<u8>(found, callback, messages),
        SampleFormat::U16 => capture_as::<u16>(found, callback, messages),
        SampleFormat::U24 => capture_as::<U24>(found, callback, messages),
        SampleFormat::U32 => capture_as::<u32>(found, callback, messages),
        SampleFormat::F32 => capture_as::<f32>(found, callback, messages),
        SampleFormat::F64 => capture_as::<f64>(found, callback, messages),
        other => Err(unknown(found, other)),
    }
}

/// Starts to play out of `callback`.
///
/// # Errors
/// [`DeviceError`] says why the device does not start.
#[expect(clippy::wildcard_enum_match_arm, reason = "forms of samples that no sound card here has")]
pub fn playback(found: &Found, callback: Playback, messages: Sender<Message>) -> Result<cpal::Stream, DeviceError> {
    match found.format {
        SampleFormat::I8 => playback_as::<i8>(found, callback, messages),
        SampleFormat::I16 => playback_as::<i16>(found, callback, messages),
        SampleFormat::I24 => playback_as::<I24>(found, callback, messages),
        SampleFormat::I32 => playback_as::<i32>(found, callback, messages),
        SampleFormat::U8 => playback_as::<u8>(found, callback, messages),
        SampleFormat::U16 => playback_as::<u16>(found, callback, messages),
        SampleFormat::U24 => playback_as::<U24>(found, callback, messages),
        SampleFormat::U32 => playback_as::<u32>(found, callback, messages),
        SampleFormat::F32 => playback_as::<f32>(found, callback, messages),
        SampleFormat::F64 => playback_as::<f64>(found, callback, messages),
        other => Err(unknown(found, other)),
    }
}

fn capture_as<S: Sample + SizedSample>(
    found: &Found,
    mut callback: Capture,
    messages: Sender<Message>,
) -> Result<cpal::Stream, DeviceError> {
    let faults = faults(messages);
    let stream = found.device.build_input_stream(
        found.config,
        move |data: &[S], _| callback.handle(data),
        faults,
        Some(PATIENCE),
    );
    started(found, stream)
}

fn playback_as<S: Sample + SizedSample>(
    found: &Found,
    mut callback: Playback,
    messages: Sender<Message>,
) -> Result<cpal::Stream, DeviceError> {
    let faults = faults(messages);
    let stream = found.device.build_output_stream(
        found.config,
        move |data: &mut [S], _| callback.handle(data),
        faults,
        Some(PATIENCE),
    );
    started(found, stream)
}

fn started(found: &Found, stream: Result<cpal::Stream, cpal::Error>) -> Result<cpal::Stream, DeviceError> {
    let stream = stream.map_err(|error| failed(found, &error))?;
    stream.play().map_err(|error| failed(found, &error))?;
    Ok(stream)
}

/// The error callback: passes on what ends a stream, once.
fn faults(messages: Sender<Message>) -> impl FnMut(cpal::Error) + Send + 'static {
    let mut messages = Some(messages);
    move |error| {
        if ends(error.kind())
            && let Some(messages) = messages.take()
        {
            // Nobody may be watching any more.
            let _ = messages.send(Message::Fault(error.to_string()));
        }
    }
}

/// Whether a stream with this error is over.
fn ends(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied)
}

fn unknown(found: &Found, format: SampleFormat) -> DeviceError {
    DeviceError {
        slug: found.slug(),
        cause: format!("{}: samples of the form {format} are not understood", found.name),
    }
}

fn failed(found: &Found, error: &cpal::Error) -> DeviceError {
    super::find::failed(found.direction, &found.name, error)
}

/// Keeps what alsa-lib has to say away from the terminal, on this thread and while it is kept.
pub fn quiet_alsa() -> impl Sized {
    // Without it alsa-lib prints, which is ugly but harmless.
    alsa::Output::local_error_handler().ok()
}

macro_rules! packed {
    ($($type:ty: $zero:expr;)*) => { $(
        impl Sample for $type {
            const SILENCE: Self = $zero;
            fn to_i16(self) -> i16 {
                cpal::Sample::to_sample(self)
            }
            fn from_i16(sample: i16) -> Self {
                cpal::Sample::from_sample(sample)
            }
        }
    )* };
}

packed! {
    I24: <I24 as cpal::Sample>::EQUILIBRIUM;
    U24: <U24 as cpal::Sample>::EQUILIBRIUM;
}

/// How long a sound system may take to make a stream.
const PATIENCE: Duration = Duration::from_secs(3);
