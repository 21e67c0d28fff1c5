//! Seeded mutations that know a little of what they break: lines and numbers of text, fields of packets.

use bellwire::rng::Rng;

/// What kind of bytes are mutated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SIP and SDP.
    Message,
    /// TOML.
    Config,
    /// RTP and RTCP.
    Packet,
}

/// Pieces that have broken readers of SIP and SDP before.
const MESSAGE_PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b"\r\n ",
    b"\t",
    b" ",
    b":",
    b";",
    b",",
    b"<",
    b">",
    b"\"",
    b"\\",
    b"\\\"",
    b"@",
    b"?",
    b"=",
    b"%",
    b"%00",
    b"%zz",
    b"[",
    b"]",
    b"[::",
    b":::",
    b"*",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xae",
    b"SIP/2.0",
    b"sip:",
    b"tel:",
    b"urn:x:y",
    b"Content-Length: 4294967296\r\n",
    b"l: -1\r\n",
    b"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\n",
    b"v: ",
    b"Contact: *\r\n",
    b"CSeq: 1 ACK\r\n",
    b"-1",
    b"transport",
    b";lr",
    b"tag=",
    b";;",
    b",,",
    b"\r\nm=audio 4000 RTP/AVP 0\r\n",
    b"\r\na=rtpmap:0 opus/48000/2\r\n",
    b"\r\na=rtpmap:96 telephone-event/8000\r\n",
    b"\r\nc=IN IP4 0.0.0.0\r\n",
    b"\r\nc=IN IP6 ff02::1/127\r\n",
    b"\r\nr=9223372036854775807d 1h\r\n",
    b"\r\na=ptime:2147483648\r\n",
    b"\r\na=rtcp:0\r\n",
    b"\r\na=fmtp:\r\n",
    b"\r\nb=\r\n",
    b" 255",
    b" 96",
    b"/",
    b"INVITE ",
    b"CANCEL ",
    b"ACK ",
    b"BYE ",
    b"PRACK ",
    b"REGISTER ",
    b"Require: 100rel\r\n",
    b"Expires: 0\r\n",
    b"Route: <sip:192.0.2.7;lr>\r\n",
    b"rport=1",
    b";received=::1",
    b"SIP/2.0 183 ",
    b"SIP/2.0 401 ",
    b"SIP/2.0 302 ",
    b"SIP/2.0 503 ",
    b"Retry-After: 99999999999\r\n",
    b"WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\n",
    b";maddr=239.1.1.1",
];

/// Pieces that have broken readers of TOML before.
const CONFIG_PIECES: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\0",
    b"\"",
    b"'",
    b"\"\"\"",
    b"'''",
    b"[",
    b"]",
    b"[[",
    b"]]",
    b"{",
    b"}",
    b"=",
    b".",
    b",",
    b"#",
    b"\\u0000",
    b"\\uD800",
    b"\\",
    b"\x1b[31m",
    b"\xff",
    b"\xe2\x80\xae",
    b"true",
    b"false",
    b"nan",
    b"inf",
    b"-0",
    b"0x",
    b"1e999",
    b"1979-05-27T07:32:00Z",
    b"[account.x]\n",
    b"[call]\n",
    b"[pbx.user.\"\"]\n",
    b"a.b.c = 1\n",
    b"password_command = [\"true\"]\n",
    b"[audio]\ncodecs = []\n",
    b"\xef\xbb\xbf",
    b"= = =",
    b"max = -1\n",
    b"\"\\n\" = 1\n",
    b"-1",
    b"_",
    b"s",
    b"ms",
    b"%",
];

/// Numbers at the edges of what fits somewhere.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "00000000000000000001",
    "127",
    "128",
    "255",
    "256",
    "32767",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "0.000000001",
    "1e309",
    "0x10",
    "٣",
];

/// Draws mutations of a corpus.
pub(crate) struct Mutator<'a> {
    rng: Rng,
    kind: Kind,
    corpus: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, kind: Kind, corpus: &'a [Vec<u8>]) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self { rng: Rng::new(bytes), kind, corpus }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.below(bound.max(1) as u64)).expect("below a usize")
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// One seed with one to six mutations.
    pub(crate) fn draw(&mut self) -> Vec<u8> {
        let mut wire = self.corpus[self.below(self.corpus.len())].clone();
        for _ in 0..=self.below(5) {
            match (self.kind, self.below(3)) {
                (Kind::Message | Kind::Config, 0) => self.mutate_lines(&mut wire),
                (Kind::Message | Kind::Config, 1) => self.mutate_words(&mut wire),
                (Kind::Packet, 0 | 1) => self.mutate_fields(&mut wire),
                _ => self.mutate_bytes(&mut wire),
            }
        }
        wire.truncate(200_000);
        wire
    }

    fn mutate_bytes(&mut self, wire: &mut Vec<u8>) {
        let at = self.below(wire.len() + 1);
        match self.below(6) {
            0 if at < wire.len() => wire[at] ^= 1 << self.below(8),
            1 if at < wire.len() => wire[at] = self.rng.u32() as u8,
            2 => {
                let end = (at + self.below(24)).min(wire.len());
                wire.drain(at..end);
            }
            3 => {
                let end = (at + self.below(64)).min(wire.len());
                let copy = wire[at..end].to_vec();
                let to = self.below(wire.len() + 1);
                wire.splice(to..to, copy);
            }
            4 => wire.truncate(at),
            _ => {
                let other = &self.corpus[self.below(self.corpus.len())];
                let from = self.below(other.len() + 1);
                wire.truncate(at);
                wire.extend_from_slice(&other[from..]);
            }
        }
    }

    /// Whole lines: dropped, doubled, many times over, in another place, or from another seed.
    fn mutate_lines(&mut self, wire: &mut Vec<u8>) {
        let mut lines: Vec<Vec<u8>> = wire.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if lines.is_empty() {
            return;
        }
        let at = self.below(lines.len());
        match self.below(6) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => {
                let many = self.one_of(&[2, 3, 5, 9, 33, 65, 300]);
                let line = lines[at].clone();
                lines.splice(at..at, std::iter::repeat_n(line, many));
            }
            3 => {
                let to = self.below(lines.len());
                lines.swap(at, to);
            }
            4 => {
                let other = &self.corpus[self.below(self.corpus.len())];
                let others: Vec<_> = other.split_inclusive(|byte| *byte == b'\n').collect();
                if !others.is_empty() {
                    lines.insert(at, self.one_of(&others).to_vec());
                }
            }
            _ => {
                // The value of one line under the name of another.
                let from = self.below(lines.len());
                let cut = |line: &[u8]| line.iter().position(|byte| b":=".contains(byte)).map(|at| at + 1);
                if let (Some(name), Some(value)) = (cut(&lines[at]), cut(&lines[from])) {
                    lines[at] = [&lines[at][..name], &lines[from][value..]].concat();
                }
            }
        }
        *wire = lines.concat();
    }

    /// Numbers become numbers at an edge, and pieces are put in, now and then very often.
    fn mutate_words(&mut self, wire: &mut Vec<u8>) {
        let at = self.below(wire.len() + 1);
        let start = wire[at..].iter().position(u8::is_ascii_digit).map(|found| at + found);
        if let (Some(start), 0) = (start, self.below(2)) {
            let length = wire[start..].iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(wire.len() - start);
            let number = self.one_of(NUMBERS);
            wire.splice(start..start + length, number.bytes());
            return;
        }
        let pieces = if self.kind == Kind::Config { CONFIG_PIECES } else { MESSAGE_PIECES };
        let piece = self.one_of(pieces);
        let times = if self.below(40) == 0 { 300 } else { 1 };
        wire.splice(at..at, piece.repeat(times));
    }

    /// Two or four bytes become a number at an edge, or a whole piece is drawn anew.
    fn mutate_fields(&mut self, wire: &mut Vec<u8>) {
        let at = self.below(wire.len() + 1);
        let value: u32 = match self.below(2) {
            0 => self.one_of(&[
                0,
                1,
                2,
                0x7F,
                0x80,
                0xFF,
                0x100,
                0x7FFF,
                0x8000,
                0xFFFF,
                0x7FFF_FFFF,
                0x8000_0000,
                u32::MAX,
            ]),
            _ => self.rng.u32(),
        };
        let width = self.one_of(&[1, 2, 4]);
        let bytes = &value.to_be_bytes()[4 - width..];
        if self.below(4) == 0 {
            let length = self.below(64);
            let mut fresh = vec![0x80, self.rng.u32() as u8];
            fresh.extend((0..length).map(|_| self.rng.u32() as u8));
            let framed = u16::try_from(fresh.len()).expect("short").to_be_bytes();
            wire.splice(at..at, framed.into_iter().chain(fresh));
        } else {
            let end = (at + width).min(wire.len());
            wire.splice(at..end, bytes.iter().copied());
        }
    }
}
