//! Direct calls with other phones, no server between.

use crate::docker::{free_port, rtp_ports, until};
use crate::judge::heard_speech_at;
use crate::peers::{Kind, PeerPhone, certificates, in_use};
use crate::phone::{Phone, Setup};
use crate::sound::Sound;
use crate::{Bench, Outcome, Row};
use std::path::Path;
use std::time::Duration;

/// All rows with Linphone and baresip.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in [Kind::Linphone, Kind::Baresip] {
        for codec in ["opus", "g722", "pcmu"] {
            rows.push(Row::new(kind.name(), format!("we call it, {codec}, we hang up"), move |b, d| {
                outgoing(b, d, kind, codec)
            }));
            rows.push(Row::new(kind.name(), format!("it calls us, {codec}, it hangs up"), move |b, d| {
                incoming(b, d, kind, codec)
            }));
        }
    }
    rows.push(Row::new("baresip", "we call it over TLS, pcmu", outgoing_secure));
    rows.push(Row::new("baresip", "it calls us over TLS, pcmu", incoming_secure));
    rows
}

/// baresip with a certificate for 127.0.0.1; the certificate's CA is `ca.pem` in `dir`/peer.
fn secure_baresip(bench: &Bench, dir: &Path) -> Result<PeerPhone, String> {
    let peer = dir.join("peer");
    let (_, certificate) = certificates(&peer, "127.0.0.1")?;
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| e.to_string());
    let both = read(&certificate)? + &read(&peer.join("server-key.pem"))?;
    std::fs::write(peer.join("tls.pem"), both).map_err(|e| e.to_string())?;
    PeerPhone::start(Kind::Baresip, &peer, "pcmu", &bench.speech)
}

fn outgoing_secure(bench: &Bench, dir: &Path) -> Outcome {
    let mut peer = secure_baresip(bench, dir)?;
    let server = format!("127.0.0.1:{}", peer.port + 1);
    let setup = Setup {
        account: Some((server, "baresip".to_owned(), "none".to_owned())),
        account_lines: format!("tls_ca = \"{}\"\n", dir.join("peer/ca.pem").display()),
        transport: Some("tls"),
        codecs: vec!["pcmu"],
        rtp: rtp_ports(40)?,
        ..Setup::default()
    };
    let (heard, says) = (dir.join("heard.wav"), says(bench, dir, Kind::Baresip, "pcmu")?);
    let call = ["call", "baresip", "--play", &says, "--record", &heard.display().to_string(), "--duration", "13s"];
    let mut phone = Phone::start(dir, &setup, &call)?;
    peer.in_call()?;
    let answered = phone.wait_for("call.answered", Duration::from_secs(10))?;
    if answered["transport"] != "tls" {
        return Err(format!("not over TLS: {answered}"));
    }
    let done = phone.finish(Duration::from_secs(30))?;
    done.expect_code(0)?;
    peer.call_ended()?;
    both_heard(bench, &peer, &heard, Kind::Baresip, "pcmu")
}

fn incoming_secure(bench: &Bench, dir: &Path) -> Outcome {
    let mut peer = secure_baresip(bench, dir)?;
    let (port, tls) = (free_port()?, free_port()?);
    let file = |name: &str| dir.join("peer").join(name).display().to_string();
    let (certificate, key) = (file("server.pem"), file("server-key.pem"));
    let setup = Setup {
        codecs: vec!["pcmu"],
        port,
        rtp: rtp_ports(40)?,
        network_lines: format!("tls_port = {tls}\ntls_cert = \"{certificate}\"\ntls_key = \"{key}\"\n"),
        ..Setup::default()
    };
    let (heard, says) = (dir.join("heard.wav"), says(bench, dir, Kind::Baresip, "pcmu")?);
    let listen = ["listen", "--auto-answer", "--once", "--play", &says, "--record", &heard.display().to_string()];
    let mut phone = Phone::start(dir, &setup, &listen)?;
    if !until(Duration::from_secs(10), || in_use(port)) {
        return Err(format!("bellwire does not listen on port {port}"));
    }
    peer.call(&format!("sip:bellwire@127.0.0.1:{tls};transport=tls"))?;
    peer.in_call()?;
    let answered = phone.wait_for("call.answered", Duration::from_secs(10))?;
    if answered["transport"] != "tls" {
        return Err(format!("not over TLS: {answered}"));
    }
    std::thread::sleep(Duration::from_millis(12_500));
    peer.hang_up()?;
    let done = phone.finish(Duration::from_secs(10))?;
    done.expect_code(0)?;
    both_heard(bench, &peer, &heard, Kind::Baresip, "pcmu")
}

/// Linphone's G.722 sends 6 dB softer and plays 6 dB louder than Asterisk's and baresip's, which agree with each other:
/// said at full level, our speech would be clipped in its decoder.
fn shift(kind: Kind, codec: &str) -> f64 {
    match kind {
        Kind::Linphone if codec == "g722" => -6.0,
        Kind::Linphone | Kind::Baresip => 0.0,
    }
}

/// What we say to it.
fn says(bench: &Bench, dir: &Path, kind: Kind, codec: &str) -> Result<String, String> {
    let file = dir.join("says.wav");
    bench.speech.scaled(shift(kind, codec)).padded(0.0, 20.0).write(&file)?;
    Ok(file.display().to_string())
}

fn outgoing(bench: &Bench, dir: &Path, kind: Kind, codec: &'static str) -> Outcome {
    let mut peer = PeerPhone::start(kind, &dir.join("peer"), codec, &bench.speech)?;
    let setup = Setup { codecs: vec![codec], rtp: rtp_ports(40)?, ..Setup::default() };
    let heard = dir.join("heard.wav");
    let uri = format!("sip:{}@127.0.0.1:{}", kind.name(), peer.port);
    let says = says(bench, dir, kind, codec)?;
    let mut phone = Phone::start(
        dir,
        &setup,
        &["call", &uri, "--play", &says, "--record", &heard.display().to_string(), "--duration", "13s"],
    )?;
    peer.in_call()?;
    phone.wait_for("call.answered", Duration::from_secs(10))?;
    let done = phone.finish(Duration::from_secs(30))?;
    done.expect_code(0)?;
    peer.call_ended()?;
    both_heard(bench, &peer, &heard, kind, codec)
}

fn incoming(bench: &Bench, dir: &Path, kind: Kind, codec: &'static str) -> Outcome {
    let port = free_port()?;
    let setup = Setup { codecs: vec![codec], port, rtp: rtp_ports(40)?, ..Setup::default() };
    let heard = dir.join("heard.wav");
    let says = says(bench, dir, kind, codec)?;
    let mut peer = PeerPhone::start(kind, &dir.join("peer"), codec, &bench.speech)?;
    let listen = ["listen", "--auto-answer", "--once", "--play", &says, "--record", &heard.display().to_string()];
    let mut phone = Phone::start(dir, &setup, &listen)?;
    if !until(Duration::from_secs(10), || in_use(port)) {
        return Err(format!("bellwire does not listen on port {port}"));
    }
    peer.call(&format!("sip:bellwire@127.0.0.1:{port}"))?;
    peer.in_call()?;
    phone.wait_for("call.answered", Duration::from_secs(10))?;
    std::thread::sleep(Duration::from_millis(12_500));
    peer.hang_up()?;
    let done = phone.finish(Duration::from_secs(10))?;
    done.expect_code(0)?;
    both_heard(bench, &peer, &heard, kind, codec)
}

fn both_heard(bench: &Bench, peer: &PeerPhone, heard: &Path, kind: Kind, codec: &str) -> Outcome {
    let we = heard_speech_at(bench, &Sound::read(heard, 0)?, codec, shift(kind, codec))
        .map_err(|e| format!("we heard: {e}"))?;
    let it = heard_speech_at(bench, &peer.heard()?, codec, 0.0).map_err(|e| format!("it heard: {e} (we: {we})"))?;
    Ok(format!("we heard {we}; it heard {it}"))
}
