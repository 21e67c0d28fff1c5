use super::*;
use std::io::Cursor;

/// A file written by another implementation.
fn foreign(
    channels: u16,
    bits: u16,
    float: bool,
    write: impl Fn(&mut hound::WavWriter<&mut Cursor<Vec<u8>>>),
) -> Vec<u8> {
    let sample_format = if float { hound::SampleFormat::Float } else { hound::SampleFormat::Int };
    let spec = hound::WavSpec { channels, sample_rate: 11_025, bits_per_sample: bits, sample_format };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a legal format");
    write(&mut writer);
    writer.finalize().expect("memory does not fail");
    bytes.into_inner()
}

fn parsed(bytes: &[u8]) -> Vec<i16> {
    let sound = Sound::parse(bytes).expect("a good file");
    assert_eq!(sound.rate, 11_025);
    sound.samples
}

#[test]
fn every_width_gives_the_same_sound() {
    let wanted = [0_i16, 256, -256, 12_800, -32_768];
    for bits in [8, 16, 24, 32] {
        let bytes = foreign(1, bits, false, |writer| {
            for sample in wanted {
                let sample = i32::from(sample);
                let scaled = if bits < 16 { sample >> 8 } else { sample << (bits - 16) };
                writer.write_sample(scaled).expect("written");
            }
        });
        assert_eq!(parsed(&bytes), wanted, "{bits} bits");
    }
    let bytes = foreign(1, 32, true, |writer| {
        wanted.iter().for_each(|sample| writer.write_sample(f32::from(*sample) / 32_768.0).expect("written"));
    });
    assert_eq!(parsed(&bytes), wanted);
}

#[test]
fn channels_are_mixed_to_their_mean() {
    let bytes = foreign(2, 16, false, |writer| {
        [100_i16, 300, -5, 5].iter().for_each(|sample| writer.write_sample(*sample).expect("written"));
    });
    assert_eq!(parsed(&bytes), [200, 0]);
}

#[test]
fn floats_beyond_full_scale_are_clipped_and_nonsense_is_silence() {
    let bytes = foreign(1, 32, true, |writer| {
        [2.0_f32, -3.0, f32::NAN].iter().for_each(|sample| writer.write_sample(*sample).expect("written"));
    });
    assert_eq!(parsed(&bytes), [i16::MAX, i16::MIN, 0]);
}

#[test]
fn chunks_in_between_and_odd_lengths_do_no_harm() {
    let plain = foreign(1, 16, false, |writer| writer.write_sample(77_i16).expect("written"));
    let (before, data) = plain.split_at(plain.windows(4).position(|name| name == b"data").expect("it has data"));
    let bytes = [before, b"LIST\x03\0\0\0abc\0", b"junk\0\0\0\0", data, b"id3 \xff\xff"].concat();
    assert_eq!(parsed(&bytes), [77]);
}

#[test]
fn lengths_that_lie_are_cut_to_what_is_there() {
    for length in [0, 1_000, u32::MAX] {
        let mut bytes = header(11_025, 2).to_vec();
        bytes[40..44].copy_from_slice(&length.to_le_bytes());
        bytes.extend([1, 0, 2, 0, 3]); // and half a sample
        assert_eq!(parsed(&bytes), [1, 2], "length {length}");
    }
}

#[test]
fn what_is_no_wav_is_named() {
    let cause = |bytes: &[u8]| Sound::parse(bytes).expect_err("no WAV").to_string();
    assert_eq!(cause(b""), "it is no WAV file");
    assert_eq!(cause(b"ID3\x04 an mp3, say"), "it is no WAV file");
    assert_eq!(cause(b"RIFF\0\0\0\0WAVE"), "it has no `fmt ` chunk");
    assert_eq!(cause(&header(8000, 0)[..36]), "it has no `data` chunk");
    let mut compressed = header(8000, 0);
    compressed[20] = 85;
    assert_eq!(cause(&compressed), "its format is not understood: number 85, 16 bits");
}

#[test]
fn every_cut_and_every_flipped_byte_ends_without_a_panic() {
    let whole = foreign(2, 24, false, |writer| (0..40).for_each(|n| writer.write_sample(n * 999).expect("written")));
    for cut in 0..whole.len() {
        let _ = Sound::parse(&whole[..cut]);
    }
    for place in 0..whole.len().min(80) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] = value;
            let _ = Sound::parse(&bytes);
        }
    }
}

#[test]
fn our_own_header_is_understood_by_others() {
    let mut bytes = header(16_000, 3).to_vec();
    [1_i16, -2, 3].iter().for_each(|sample| bytes.extend(sample.to_le_bytes()));
    let mut reader = hound::WavReader::new(Cursor::new(bytes)).expect("a WAV file");
    assert_eq!((reader.spec().channels, reader.spec().sample_rate, reader.len()), (1, 16_000, 3));
    assert_eq!(reader.samples::<i16>().map(|sample| sample.expect("a sample")).collect::<Vec<_>>(), [1, -2, 3]);
}

#[test]
fn a_directory_and_a_missing_file_are_errors_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(Sound::load(folder.path()), Err(WavError::NotAFile)));
    assert!(matches!(Sound::load(&folder.path().join("none.wav")), Err(WavError::Io(_))));
}
