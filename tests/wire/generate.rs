//! Sound messages drawn at random: the pieces the RFC's grammar allows, put together with loose white space, folds,
//! compact names and several values on a line.

use bellwire::rng::Rng;

/// Draws one piece of grammar after another.
pub(crate) struct Generator {
    rng: Rng,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self { rng: Rng::new(bytes) }
    }

    fn coin(&mut self) -> bool {
        self.rng.below(2) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        let at = self.rng.below(choices.len() as u64);
        choices[usize::try_from(at).expect("a small number")]
    }

    fn word(&mut self, alphabet: &str, most: u64) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        let length = 1 + self.rng.below(most);
        (0..length)
            .map(|_| letters[usize::try_from(self.rng.below(letters.len() as u64)).expect("a small number")])
            .collect()
    }

    fn space(&mut self) -> &'static str {
        self.pick(&["", "", "", " ", "  ", "\t", "\r\n ", " \r\n\t"])
    }

    pub(crate) fn host(&mut self) -> String {
        self.pick(&[
            "example.com",
            "a.b-c.example.org",
            "localhost",
            "192.0.2.77",
            "[2001:db8::1]",
            "[::ffff:192.0.2.3]",
            "x1",
            "[::]",
        ])
        .to_owned()
    }

    fn port(&mut self) -> String {
        if self.coin() { format!(":{}", self.rng.below(65_536)) } else { String::new() }
    }

    fn user(&mut self) -> String {
        let mut user = self.word("abcXYZ019-_.!~*'()&=+$,;?/", 10);
        if self.coin() {
            user.push_str(self.pick(&["%40", "%20", "%41", "%c3%a4"]));
        }
        user
    }

    fn plain_params(&mut self) -> String {
        let mut text = String::new();
        for n in 0..self.rng.below(4) {
            let name = self.word("abcdefg", 6);
            text.push_str(&format!(";{name}{n}"));
            if self.coin() {
                text.push('=');
                text.push_str(&self.word("abcXYZ019-.!*_+~", 8));
            }
        }
        text
    }

    pub(crate) fn uri(&mut self) -> String {
        let scheme = self.pick(&["sip", "sip", "sips", "SIP"]);
        let user = if self.coin() { format!("{}@", self.user()) } else { String::new() };
        let transport = self.pick(&["", "", ";transport=tcp", ";transport=UDP", ";lr"]);
        format!("{scheme}:{user}{}{}{transport}{}", self.host(), self.port(), self.plain_params())
    }

    /// A display name as the wire has it; `escapes` lets in what must be escaped.
    fn display(&mut self, escapes: bool) -> String {
        match self.rng.below(4) {
            0 => String::new(),
            1 => format!("{} ", self.word("abcdefgXYZ", 8)),
            2 => format!("\"{}\"{}", self.word("abc XYZ,;<>@:?é電", 12), self.space()),
            3 if escapes && self.coin() => "\"\" ".to_owned(),
            _ if escapes => format!("\"{}\\\"{}\\\\\" ", self.word("abc <,;", 5), self.word("xyz >", 5)),
            _ => String::new(),
        }
    }

    pub(crate) fn name_addr(&mut self, tag: bool, escapes: bool) -> String {
        let tag = if tag {
            format!("{};{}tag{}={}{}", self.space(), self.space(), self.space(), self.space(), self.word("abc019.-", 9))
        } else {
            String::new()
        };
        format!("{}<{}>{tag}", self.display(escapes), self.uri())
    }

    pub(crate) fn via(&mut self) -> String {
        let transport = self.pick(&["UDP", "TCP", "TLS", "WS", "SCTP", "NEW"]);
        let received = self.pick(&["", "", ";received=192.0.2.9", ";rport", ";rport=5071;received=192.0.2.9"]);
        format!(
            "SIP/2.0/{transport} {}{}{};branch=z9hG4bK{}{received}",
            self.host(),
            self.port(),
            self.space(),
            self.word("abc019", 12)
        )
    }

    /// A header line, its name in one of its spellings.
    fn line(&mut self, names: &[&str], value: &str) -> String {
        let name = self.pick(names).to_owned();
        let name = match self.rng.below(4) {
            0 => name.to_uppercase(),
            1 => name.to_lowercase(),
            _ => name,
        };
        format!("{name}{}:{}{value}\r\n", self.pick(&["", "", " ", "\t"]), self.space())
    }

    /// A whole sound message.
    pub(crate) fn message(&mut self, escapes: bool) -> Vec<u8> {
        let method = self.pick(&["INVITE", "OPTIONS", "REGISTER", "BYE", "NOTIFY", "FOO", "M-SEARCH"]);
        let start = if self.coin() {
            format!("{method} {} SIP/2.0\r\n", self.uri())
        } else {
            format!("SIP/2.0 {} {}\r\n", 100 + self.rng.below(600), self.pick(&["OK", "Not Found", "Ça va", "a  b"]))
        };
        let body = self.word("abc\r\n\0é", 40);
        let mut lines = Vec::new();
        for _ in 0..1 + self.rng.below(3) {
            let mut value = self.via();
            if self.coin() {
                value = format!("{value}{},{}{}", self.space(), self.space(), self.via());
            }
            lines.push(self.line(&["Via", "v"], &value));
        }
        let from = self.name_addr(true, escapes);
        lines.push(self.line(&["From", "f"], &from));
        let tagged = self.coin();
        let to = self.name_addr(tagged, escapes);
        lines.push(self.line(&["To", "t"], &to));
        let id = self.word("abcXYZ019-.@", 20);
        lines.push(self.line(&["Call-ID", "i"], &id));
        let seq = self.rng.below(1 << 31);
        lines.push(self.line(&["CSeq"], &format!("{seq} {method}")));
        for _ in 0..self.rng.below(3) {
            let mut value = self.name_addr(false, escapes);
            if self.coin() {
                value = format!("{value},{}{}", self.space(), self.name_addr(false, escapes));
            }
            lines.push(self.line(&["Contact", "m"], &value));
        }
        for _ in 0..self.rng.below(2) {
            let value = format!("<{}>, <{}>", self.uri(), self.uri());
            lines.push(self.line(&["Route"], &value));
            lines.push(self.line(&["Record-Route"], &value));
        }
        if self.coin() {
            lines.push(self.line(&["Max-Forwards"], "70"));
            lines.push(self.line(&["Supported", "k"], "100rel,timer , path"));
            lines.push(self.line(&["Subject", "s"], "any text; \"at\", all <"));
        }
        lines.push(self.line(&["Content-Length", "l"], &body.len().to_string()));
        // The order of headers with unlike names says nothing: turn the list.
        let turn = usize::try_from(self.rng.below(lines.len() as u64)).expect("a small number");
        lines.rotate_left(turn);
        format!("{start}{}\r\n{body}", lines.concat()).into_bytes()
    }
}
