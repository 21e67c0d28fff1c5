//! The other end: Asterisk with its control interface, Linphone's console phone, baresip.

use crate::docker::{Container, free_port, rtp_ports, until};
use crate::sound::Sound;
use nix::unistd::{getgid, getuid};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a peer may take to start on a busy machine.
const START: Duration = Duration::from_secs(30);

/// The PBX.
#[derive(Debug)]
pub(crate) struct Asterisk {
    container: Container,
    /// SIP over UDP and TCP.
    pub(crate) sip: u16,
    /// SIP over TLS.
    pub(crate) tls: u16,
    /// The CA of its certificate, which is for `localhost`, and the certificate itself.
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    http: u16,
    /// The `interop` application of ARI exists while this connection does.
    _application: TcpStream,
}

impl Asterisk {
    /// Starts it on free ports.
    pub(crate) fn start(dir: &Path) -> Result<Self, String> {
        let (sip, tls, http, rtp) = (free_port()?, free_port()?, free_port()?, rtp_ports(200)?);
        let (ca, certificate) = certificates(&dir.join("tls"), "localhost")?;
        let speech = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/assets/speech.wav");
        let mut options = vec![
            format!("--volume={}:/opt/bellwire/sounds/speech.wav16:ro", speech.display()),
            format!("--volume={}:/opt/bellwire/tls:ro", dir.join("tls").display()),
        ];
        let variables = [
            ("SIP_PORT", sip),
            ("TLS_PORT", tls),
            ("HTTP_PORT", http),
            ("RTP_FIRST", rtp),
            ("RTP_LAST", rtp + 199),
            ("STOP_WITH_STDIN", 1),
        ];
        options.extend(variables.map(|(name, value)| format!("--env={name}={value}")));
        let container = Container::start("asterisk", dir, &options, &[])?;
        container.wait_for("Asterisk Ready.", START)?;
        let mut application = TcpStream::connect(("127.0.0.1", http)).map_err(|e| format!("ARI: {e}"))?;
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YmVsbHdpcmUgaW50ZXJvcA==";
        write!(
            application,
            "GET /ari/events?app=interop&api_key=interop:interop HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}\r\n\r\n"
        )
        .map_err(|e| e.to_string())?;
        container.wait_for("Creating Stasis app 'interop'", START)?;
        Ok(Self { container, sip, tls, ca, certificate, http, _application: application })
    }

    /// "127.0.0.1:PORT".
    pub(crate) fn server(&self) -> String {
        format!("127.0.0.1:{}", self.sip)
    }

    /// Kills it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) -> Result<(), String> {
        self.container.kill()
    }

    /// Waits until its log has `text`.
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> Result<(), String> {
        self.container.wait_for(text, limit)
    }

    /// The id of the one call that extension 609 has handed to ARI.
    pub(crate) fn held_channel(&self) -> Result<String, String> {
        let mut id = None;
        until(Duration::from_secs(5), || {
            let list: serde_json::Value =
                self.ari("GET", "channels").ok().and_then(|body| serde_json::from_str(&body).ok()).unwrap_or_default();
            let stasis = list
                .as_array()
                .into_iter()
                .flatten()
                .find(|c| c["dialplan"]["exten"] == "609" && c["dialplan"]["app_name"] == "Stasis");
            id = stasis.and_then(|c| c["id"].as_str()).map(str::to_owned);
            id.is_some()
        });
        id.ok_or_else(|| "no call in extension 609".to_owned())
    }

    /// How many RTP packets it has got from the phone in `channel`.
    pub(crate) fn packets_from_phone(&self, channel: &str) -> Result<u64, String> {
        let body = self.ari("GET", &format!("channels/{channel}/rtp_statistics"))?;
        let figures: serde_json::Value = serde_json::from_str(&body).map_err(|e| format!("{e}: {body}"))?;
        figures["rxcount"].as_u64().ok_or(body)
    }

    /// One request to the control interface (ARI); the body of its answer.
    pub(crate) fn ari(&self, method: &str, path: &str) -> Result<String, String> {
        let fail = |e: std::io::Error| format!("ARI {method} {path}: {e}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).map_err(fail)?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(fail)?;
        let head =
            "Host: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\nAuthorization: Basic aW50ZXJvcDppbnRlcm9w";
        write!(stream, "{method} /ari/{path} HTTP/1.1\r\n{head}\r\n\r\n").map_err(fail)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(fail)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.starts_with("HTTP/1.1 2") {
            return Ok(body.to_owned());
        }
        Err(format!("ARI {method} {path}: {} {body}", head.lines().next().unwrap_or("no answer")))
    }
}

/// A CA, and a certificate of it for `name` with its key `server-key.pem`, as files in `dir`: the CA's and the certificate's.
pub(crate) fn certificates(dir: &Path, name: &str) -> Result<(PathBuf, PathBuf), String> {
    let fail = |e: rcgen::Error| format!("no certificate: {e}");
    let mut ca = rcgen::CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "Interop CA");
    let ca = rcgen::CertifiedIssuer::self_signed(ca, rcgen::KeyPair::generate().map_err(fail)?).map_err(fail)?;
    let key = rcgen::KeyPair::generate().map_err(fail)?;
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).map_err(fail)?;
    let server = params.signed_by(&key, &ca).map_err(fail)?;
    fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).map(|()| path).map_err(|e| e.to_string())
    };
    write("server-key.pem", &key.serialize_pem())?;
    Ok((write("ca.pem", &ca.pem())?, write("server.pem", &server.pem())?))
}

/// What both phones have in common here.
#[derive(Debug)]
pub(crate) struct PeerPhone {
    container: Container,
    dir: PathBuf,
    /// Its SIP port.
    pub(crate) port: u16,
    kind: Kind,
}

/// Whether it talks encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// In the clear.
    Off,
    /// SRTP by SDES and nothing else.
    Required,
}

/// Which phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Linphone's console phone.
    Linphone,
    /// baresip.
    Baresip,
}

impl Kind {
    /// Its directory and image.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Linphone => "linphone",
            Self::Baresip => "baresip",
        }
    }
}

impl PeerPhone {
    /// Starts a phone that answers calls, says `says` once in a call and records what it hears, with `codec` alone. baresip takes TLS too, on
    /// the port above its own, if its certificate and key are in `dir`/tls.pem; it trusts `dir`/ca.pem.
    pub(crate) fn start(kind: Kind, dir: &Path, codec: &str, says: &Sound) -> Result<Self, String> {
        Self::start_with(kind, dir, codec, says, Guard::Off)
    }

    /// The same with encrypted sound, perhaps.
    pub(crate) fn start_with(kind: Kind, dir: &Path, codec: &str, says: &Sound, guard: Guard) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|e| e.to_string())?;
        let rate = match codec {
            "opus" => 48_000,
            "g722" => 16_000,
            _ => 8000,
        };
        // baresip hangs up at the end of its file: silence behind it keeps the call.
        says.resampled(rate).padded(0.0, 20.0).write(&dir.join("says.wav"))?;
        let (port, rtp) = (free_port()?, rtp_ports(40)?);
        let mut options = vec![
            format!("--volume={}:/phone", dir.display()),
            "--env=HOME=/phone".to_owned(),
            format!("--user={}:{}", getuid(), getgid()),
        ];
        let container = match kind {
            Kind::Linphone => {
                fs::create_dir_all(dir.join(".local/share/linphone")).map_err(|e| e.to_string())?;
                fs::write(dir.join("rc"), linphone_rc(port, rtp, codec, guard)).map_err(|e| e.to_string())?;
                options.push("--workdir=/phone".to_owned());
                Container::start("linphone", dir, &options, &["-c", "/phone/rc", "-a"])?
            }
            Kind::Baresip => {
                let mut config = baresip_config(port, rtp, rate, guard);
                if dir.join("tls.pem").exists() {
                    config += "sip_certificate /phone/tls.pem\nsip_cafile /phone/ca.pem\nsip_verify_server yes\n";
                }
                fs::write(dir.join("config"), config).map_err(|e| e.to_string())?;
                fs::write(dir.join("accounts"), baresip_account(port, codec, guard)).map_err(|e| e.to_string())?;
                fs::write(dir.join("contacts"), "\n").map_err(|e| e.to_string())?;
                Container::start("baresip", dir, &options, &["-f", "/phone"])?
            }
        };
        let mut phone = Self { container, dir: dir.to_owned(), port, kind };
        match kind {
            Kind::Linphone => {
                phone.container.wait_for("linphonec>", START)?;
                for line in ["soundcard use files", "record /phone/heard.wav"] {
                    // Two lines at once, and it may lose one of them.
                    let prompts = |phone: &Self| phone.container.log().matches("linphonec>").count();
                    let before = prompts(&phone);
                    phone.container.type_line(line)?;
                    if !until(START, || prompts(&phone) > before) {
                        return Err(format!("linphone took no {line:?}"));
                    }
                }
            }
            Kind::Baresip => phone.container.wait_for("baresip is ready.", START)?,
        }
        if !until(START, || in_use(port)) {
            return Err(format!("{} does not listen on port {port}", kind.name()));
        }
        Ok(phone)
    }

    /// Calls `uri`.
    pub(crate) fn call(&mut self, uri: &str) -> Result<(), String> {
        match self.kind {
            Kind::Linphone => self.container.type_line(&format!("call {uri}")),
            Kind::Baresip => self.container.type_line(&format!("/dial {uri}")),
        }
    }

    /// Waits until a call is up; Linphone begins to speak only then.
    pub(crate) fn in_call(&mut self) -> Result<(), String> {
        match self.kind {
            Kind::Linphone => {
                self.container.wait_for("Media streams established", Duration::from_secs(15))?;
                self.container.type_line("play /phone/says.wav")
            }
            Kind::Baresip => self.container.wait_for("Call established", Duration::from_secs(15)),
        }
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) -> Result<(), String> {
        match self.kind {
            Kind::Linphone => self.container.type_line("terminate"),
            Kind::Baresip => self.container.type_line("/hangup"),
        }
    }

    /// Waits until its call is over.
    pub(crate) fn call_ended(&self) -> Result<(), String> {
        let words = match self.kind {
            Kind::Linphone => " ended (",
            Kind::Baresip => "terminated (duration",
        };
        self.container.wait_for(words, Duration::from_secs(10))
    }

    /// What it heard.
    pub(crate) fn heard(&self) -> Result<Sound, String> {
        Sound::read(&self.dir.join("heard.wav"), 0)
    }
}

/// Whether a UDP socket of this machine has `port`.
pub(crate) fn in_use(port: u16) -> bool {
    let mark = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).any(|local| local.ends_with(&mark))
}

fn linphone_rc(port: u16, rtp: u16, codec: &str, guard: Guard) -> String {
    let (encryption, mandatory) = match guard {
        Guard::Off => ("none", 0),
        Guard::Required => ("srtp", 1),
    };
    let (mime, rate) = match codec {
        "opus" => ("opus", 48_000),
        "g722" => ("G722", 8000),
        "pcma" => ("PCMA", 8000),
        _ => ("PCMU", 8000),
    };
    format!(
        "[audio_codec_0]\nmime={mime}\nrate={rate}\nchannels={}\nenabled=1\n\
         [sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\nuse_ipv6=0\nguess_hostname=0\ncontact=sip:linphone@127.0.0.1:{port}\n\
         media_encryption={encryption}\nmedia_encryption_mandatory={mandatory}\nlime=0\nbind_address=127.0.0.1\n\
         [net]\nmtu=1300\nfirewall_policy=0\n[rtp]\naudio_rtp_port={rtp}\n[sound]\n[misc]\nuuid=\nuse_rls_presence=0\n",
        if codec == "opus" { 2 } else { 1 }
    )
}

fn baresip_config(port: u16, rtp: u16, rate: u32, guard: Guard) -> String {
    // sndfile is loaded because baresip 1.1 without any audio filter crashed at call set-up now and then.
    let mut modules =
        ["stdio", "aufile", "sndfile", "g711", "g722", "opus"].map(|m| format!("module {m}.so\n")).concat();
    if guard == Guard::Required {
        modules += "module srtp.so\n";
    }
    let apps = ["account", "menu"].map(|m| format!("module_app {m}.so\n")).concat();
    format!(
        "sip_listen 127.0.0.1:{port}\ncall_max_calls 4\naudio_source aufile,/phone/says.wav\naudio_player aufile,/phone/heard.wav\n\
         audio_alert aufile,/phone/alert.wav\nringback_disabled yes\nring_aufile none\nringback_aufile none\nausrc_srate {rate}\nauplay_srate {rate}\nausrc_channels 1\nauplay_channels 1\naudio_buffer 100-400\n\
         rtp_ports {rtp}-{}\nnet_interface 127.0.0.1\nmodule_path /usr/lib/baresip/modules\nsnd_path /phone\nstatmode_default off\n\
         opus_stereo no\nopus_sprop_stereo no\nopus_bitrate 32000\n{modules}{apps}",
        rtp + 39
    )
}

fn baresip_account(port: u16, codec: &str, guard: Guard) -> String {
    let guard = match guard {
        Guard::Off => "",
        Guard::Required => ";mediaenc=srtp-mand",
    };
    let codec = match codec {
        "opus" => "opus/48000/2",
        "g722" => "G722/16000/1",
        "pcma" => "PCMA/8000/1",
        _ => "PCMU/8000/1",
    };
    format!("<sip:baresip@127.0.0.1:{port}>;regint=0;answermode=auto;audio_codecs={codec}{guard}\n")
}
