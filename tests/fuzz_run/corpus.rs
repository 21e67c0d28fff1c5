//! What the mutations start from.

use bellwire::media::packet::RtpPacket;
use bellwire::media::rtcp::{Block, Report, SenderInfo};
use std::path::Path;

/// The files of a folder of the repository with one extension, in order of name.
fn files(folder: &str, extension: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .filter_map(|file| file.ok().map(|file| file.path()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    let files: Vec<_> = files.iter().map(|path| std::fs::read(path).expect("a readable file")).collect();
    assert!(!files.is_empty(), "a corpus without files");
    files
}

/// The torture messages and a plain conversation.
pub(crate) fn sip_messages() -> Vec<Vec<u8>> {
    let mut corpus = files("tests/data/torture", "sip");
    corpus.extend(bellwire::fuzz::engine::conversations());
    corpus
}

/// The descriptions of known phones.
pub(crate) fn descriptions() -> Vec<Vec<u8>> {
    files("tests/data/sdp", "sdp")
}

/// Messages one after another with keep-alives between.
pub(crate) fn streams() -> Vec<Vec<u8>> {
    let message = |length: usize| {
        let head = "INVITE sip:a@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nTo: <sip:a@b>\r\n";
        format!("{head}Content-Length: {length}\r\n\r\n{}", "v".repeat(length)).into_bytes()
    };
    let mut corpus = vec![
        [message(0), message(9)].concat(),
        [b"\r\n\r\n".to_vec(), message(200), b"\r\n\r\n\r\n".to_vec(), message(1)].concat(),
        message(4_000),
        b"OPTIONS sip:a@h SIP/2.0\r\nl\r\n :\r\n 0\r\n\r\n".to_vec(),
    ];
    corpus.push(bellwire::fuzz::engine::conversations().concat());
    corpus.extend(files("tests/data/torture", "sip"));
    corpus
}

/// The example with every key, the four lines of the README, and a PBX.
pub(crate) fn configs() -> Vec<Vec<u8>> {
    let mut corpus = files("config", "toml");
    corpus.push(b"[account.home]\nserver = \"pbx.example.org\"\nuser = \"1001\"\npassword = \"secret\"\n".to_vec());
    corpus.push(b"[pbx]\nlisten = \"127.0.0.1:5060\"\n[pbx.user.alice]\npassword = \"long enough to pass\"\n".to_vec());
    corpus.push(
        b"call.max = 4\naudio = { input = \"tone:440\", codecs = [\"opus\", \"pcmu\"], frame = \"20ms\" }\n".to_vec(),
    );
    corpus
}

/// Packets behind their lengths.
fn framed(packets: &[Vec<u8>]) -> Vec<u8> {
    let frame = |packet: &Vec<u8>| {
        let length = u16::try_from(packet.len()).expect("a datagram").to_be_bytes();
        [&length[..], packet].concat()
    };
    packets.iter().flat_map(frame).collect()
}

/// Sound, digits, extensions, padding and a second source, as one peer sends them.
pub(crate) fn rtp() -> Vec<Vec<u8>> {
    let packet = |payload_type, seq: u16, ssrc, payload: &[u8], extension| {
        let timestamp = u32::from(seq).wrapping_mul(160);
        let packet = RtpPacket { payload_type, marker: seq == 0, seq, timestamp, ssrc, extension, payload };
        let mut buf = vec![0; payload.len() + 64];
        let length = packet.write(&mut buf).expect("a plain packet");
        buf.truncate(length);
        buf
    };
    let sound: Vec<_> = (100..110).map(|seq| packet(0, seq, 7, &[0x55; 160], None)).collect();
    let wrap: Vec<_> = (0..6).map(|n| packet(8, 65_533_u16.wrapping_add(n), 7, &[0xD5; 160], None)).collect();
    let digits: Vec<_> =
        (0..5).map(|n| packet(101, 103 + n, 7, &[5, if n > 2 { 0x8A } else { 10 }, 0, 160], None)).collect();
    let elements = [0x10, 0xAA, 0x22, 1, 2, 3, 0, 0];
    let extended: Vec<_> = (103..108).map(|seq| packet(9, seq, 7, &[1; 160], Some((0xBEDE, &elements[..])))).collect();
    let opus: Vec<_> = (103..108).map(|seq| packet(96, seq, 7, &[0x78, 1, 2, 3], None)).collect();
    let other: Vec<_> = (0..4).map(|n| packet(0, 900 + n, 0xFFFF_0000, &[0x80; 80], None)).collect();
    let mut padded = packet(0, 103, 7, &[0x55; 160], None);
    padded[0] |= 0x20;
    padded.extend([0, 0, 0, 4]);
    let sources = [&[0x8F_u8, 0, 0, 104, 0, 0, 0, 1, 0, 0, 0, 7][..], &[1; 60], &[0x55; 160]].concat();
    [sound, wrap, digits, extended, opus, other, vec![padded, sources]].iter().map(|packets| framed(packets)).collect()
}

/// Protected packets of every suite, under a key that is not the harness's, clear ones, and key lines.
pub(crate) fn srtp() -> Vec<Vec<u8>> {
    use bellwire::media::srtp::Srtp;
    use bellwire::sdp::crypto::CryptoLine;
    use bellwire::sdp::plan::{MasterKey, SdesKeys, Suite};
    let mut rng = bellwire::rng::Rng::new([1; 32]);
    let of = |(n, suite): (u8, Suite)| {
        let [send, receive] = [0; 2].map(|_| MasterKey::random(suite, &mut rng));
        let line = CryptoLine { tag: 1, suite, key: send.clone(), mki: None }.encode() + "|2^31|1:4 WSH=128";
        let mut srtp = Srtp::new(&SdesKeys { suite, send, receive, mki: None });
        let (mut sound, mut report) = ([0x55; 300], [0x55; 100]);
        sound[..12].copy_from_slice(&[0x80, 0, 0, n, 0, 0, 0, 160, 0, 0, 0, 7]);
        report[..8].copy_from_slice(&[0x81, 200, 0, 12, 0, 0, 0, 7]);
        let clear = sound[..172].to_vec();
        let length = srtp.protect_rtp(&mut sound, 172).expect("it fits");
        let control = srtp.protect_rtcp(&mut report, 52).expect("it fits");
        framed(&[clear, sound[..length].to_vec(), report[..control].to_vec(), line.into_bytes()])
    };
    (0..).zip(Suite::ALL).map(of).collect()
}

/// Reports, goodbyes and packets of other kinds.
pub(crate) fn rtcp() -> Vec<Vec<u8>> {
    let block = |lost| Block {
        ssrc: 9,
        fraction: 3,
        lost,
        highest: 70_000,
        jitter: 12,
        last_sr: 0x5678_0000,
        since_last_sr: 65_536,
    };
    let info = SenderInfo { ntp: 0x0102_0304_0506_0708, rtp: 99, packets: 5, octets: 800 };
    let write = |report: Report<'_>| {
        let mut buf = vec![0; 300];
        let length = report.write(&mut buf).expect("it fits");
        buf.truncate(length);
        buf
    };
    let sender = write(Report { ssrc: 7, sender: Some(info), block: Some(block(-2)), cname: "a@b", bye: false });
    let receiver = write(Report { ssrc: 7, sender: None, block: Some(block(5)), cname: "x", bye: false });
    let bye = write(Report { ssrc: 7, sender: None, block: None, cname: "x", bye: true });
    let app = [&receiver[..], &[0x80, 204, 0, 2, 0, 0, 0, 7, b'T', b'E', b'S', b'T']].concat();
    let xr = [&receiver[..], &[0x80, 207, 0, 3, 0, 0, 0, 7, 7, 0, 0, 1, 1, 2, 3, 4]].concat();
    let pli = [&receiver[..], &[0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 9]].concat();
    let feedback =
        [&receiver[..], &[0x8F, 206, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0, 0, 1]].concat();
    [vec![sender.clone(), receiver], vec![sender, bye], vec![app], vec![xr], vec![pli, feedback]]
        .iter()
        .map(|packets| framed(packets))
        .collect()
}
