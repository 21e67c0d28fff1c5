use super::*;

fn tone(hz: f64, from: usize, length: usize) -> Vec<i16> {
    (from..from + length).map(|i| ((i as f64 * hz * std::f64::consts::TAU / 8000.0).sin() * 10_000.0) as i16).collect()
}

fn power(pcm: &[i16]) -> f64 {
    pcm.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / pcm.len() as f64
}

#[test]
fn a_lost_piece_of_a_tone_goes_on_in_phase() {
    let mut concealer = Concealer::new(8000);
    concealer.handle_decoded(&mut tone(250.0, 0, 800), 800);
    let mut substitute = vec![0; 80];
    concealer.conceal(&mut substitute);
    let error: Vec<i16> = substitute.iter().zip(tone(250.0, 800, 80)).map(|(a, b)| a - b).collect();
    assert!(power(&error) < power(&substitute) / 1000.0, "{error:?}");
}

#[test]
fn the_substitute_fades_to_nothing_by_60_ms() {
    let mut concealer = Concealer::new(8000);
    concealer.handle_decoded(&mut tone(250.0, 0, 800), 800);
    let mut substitute = vec![0; 640];
    concealer.conceal(&mut substitute);
    assert!(power(&substitute[240..320]) < power(&substitute[..80]) / 3.0);
    assert!(power(&substitute[400..480]) < power(&substitute[..80]) / 50.0);
    assert_eq!(substitute[480..], [0; 160]);
}

#[test]
fn the_way_back_is_found_in_phase() {
    for (start, expected) in [(960, 160), (970, 170), (950, 150)] {
        let mut concealer = Concealer::new(8000);
        concealer.handle_decoded(&mut tone(250.0, 0, 800), 800);
        let mut substitute = vec![0; 160];
        concealer.conceal(&mut substitute);
        let mut real = tone(250.0, start, 160);
        real.resize(200, 0);
        let length = concealer.handle_decoded(&mut real, 160);
        assert_eq!(length, expected, "sound that starts at {start} instead of 960");
        let steepest = |pcm: &[i16]| pcm.windows(2).map(|w| (i32::from(w[0]) - i32::from(w[1])).abs()).max();
        let joined = [&substitute[80..], &real[..length]].concat();
        assert!(steepest(&joined) <= Some(1970), "{:?}", steepest(&joined)); // what the tone itself reaches
    }
}

#[test]
fn without_room_the_sound_is_not_lengthened() {
    let mut concealer = Concealer::new(8000);
    concealer.handle_decoded(&mut tone(250.0, 0, 800), 800);
    concealer.conceal(&mut [0; 160]);
    assert!(concealer.handle_decoded(&mut tone(250.0, 970, 160), 160) <= 160);
}

#[test]
fn with_nothing_heard_before_the_substitute_is_silence() {
    let mut concealer = Concealer::new(16_000);
    let mut substitute = vec![99; 320];
    concealer.conceal(&mut substitute);
    assert_eq!(substitute, [0; 320]);
}
