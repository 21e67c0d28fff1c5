//! TLS from the outside: the PBX, a phone and the words for certificates that are not good enough.

use crate::kit::{CANARY, Home, Running};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A PBX with alice on a TLS port, its certificate for `localhost` signed by `ca.pem`.
struct Secure {
    _running: Running,
    port: String,
}

impl Secure {
    fn start(home: &Home) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "A CA of the tests");
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        home.write("ca.pem", &ca.pem());
        home.write("pbx.pem", &certificate.pem());
        home.write("pbx-key.pem", &key.serialize_pem());
        home.write("pbx.toml", &format!("[pbx.user.alice]\npassword = \"{CANARY}-alice\"\n"));
        let args = ["pbx", "-c", "pbx.toml", "--bind", "127.0.0.1:0", "--tls-bind", "127.0.0.1:0"];
        let running = home.start(&[&args[..], &["--tls-cert", "pbx.pem", "--tls-key", "pbx-key.pem"]].concat());
        let line = running.until("tls:127.0.0.1:");
        let port = line.split("tls:127.0.0.1:").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        Self { _running: running, port }
    }

    fn phone(&self, home: &Home, host: &str, more: &str) {
        let text = format!(
            "[account.work]\nserver = \"{host}:{}\"\nuser = \"alice\"\npassword = \"{CANARY}-alice\"\ntransport = \"tls\"\n{more}",
            self.port
        );
        home.write("phone.toml", &text);
    }
}

#[test]
fn a_phone_registers_and_calls_over_tls_and_every_message_travels_over_it() {
    let home = Home::new();
    let pbx = Secure::start(&home);
    pbx.phone(&home, "localhost", "tls_ca = \"ca.pem\"\n");
    let done = home.run(&["register", "--once", "-c", "phone.toml", "--json"]).expect(0, &[]);
    assert_eq!(done.events("registration.ok").remove(0)["transport"], "tls");
    let call = ["call", "600", "--null-audio", "-c", "phone.toml", "--duration", "1s", "--trace", "tls.txt", "--json"];
    let done = home.run(&call).expect(0, &[]);
    assert_eq!(done.events("call.answered").remove(0)["transport"], "tls");
    let trace = std::fs::read_to_string(home.path("tls.txt")).unwrap();
    assert!(trace.contains(" sent TLS ") && !trace.contains(" UDP ") && !trace.contains(" TCP "), "{trace}");
    assert!(trace.contains(";transport=tls>") && !trace.contains(CANARY), "{trace}");
    home.run(&["ping", "600", "-c", "phone.toml"]).expect(0, &["  answered 200 OK in ", " over TLS"]);
    let sips = format!("sips:600@localhost:{}", pbx.port);
    home.run(&["call", &sips, "--null-audio", "-c", "phone.toml", "--duration", "1s"]).expect(0, &["  answered "]);
}

#[test]
fn each_bad_certificate_is_told_with_what_to_do_about_it() {
    let home = Home::new();
    let pbx = Secure::start(&home);
    let register = ["register", "--once", "-c", "phone.toml"];
    pbx.phone(&home, "localhost", "");
    home.run(&register).expect(
        6,
        &[
            "error[tls.untrusted]: cannot trust the certificate of localhost:",
            "issued by A CA of the tests",
            "tls_ca = \"my-ca.pem\"",
        ],
    );
    pbx.phone(&home, "127.0.0.1", "tls_ca = \"ca.pem\"\n");
    let told = "error[tls.name-mismatch]: the certificate is for localhost, not for 127.0.0.1:";
    home.run(&register).expect(6, &[told, "tls_server_name = \"localhost\""]);
    pbx.phone(&home, "127.0.0.1", "tls_ca = \"ca.pem\"\ntls_server_name = \"localhost\"\n");
    home.run(&register).expect(0, &["  registered alice at 127.0.0.1:"]);
    let wrong = "ab".repeat(32);
    pbx.phone(&home, "localhost", &format!("tls_pin = \"sha256:{wrong}\"\n"));
    let done = home.run(&register).expect(6, &["error[tls.pin-mismatch]", "tls_pin = \"sha256:"]);
    // What it proposes is what is shown there: taken over, it works.
    let pin = done.err.split("tls_pin = \"sha256:").nth(1).unwrap().split('"').next().unwrap().to_owned();
    pbx.phone(&home, "127.0.0.1", &format!("tls_pin = \"sha256:{pin}\"\n"));
    home.run(&register).expect(0, &["  registered alice at 127.0.0.1:", "over TLS"]);
}

#[test]
fn a_sips_call_to_a_server_in_clear_is_not_made() {
    let home = Home::new();
    let pbx = crate::kit::Pbx::start(&home);
    let target = format!("sips:600@{}", pbx.tcp);
    let done = home.run(&["call", &target, "--null-audio", "--trace", "none.txt", "--timeout", "15s"]);
    assert!([Some(5), Some(6)].contains(&done.code), "{:?} {}", done.code, done.err);
    assert!(done.err.contains("error[tls."), "{}", done.err);
    assert_eq!(std::fs::read_to_string(home.path("none.txt")).unwrap(), "");
}

#[test]
fn files_for_tls_that_cannot_be_used_stop_the_start_and_pairs_belong_together() {
    let home = Home::new();
    home.write("c.toml", "[account.a]\nserver = \"x\"\nuser = \"y\"\ntransport = \"tls\"\ntls_ca = \"none.pem\"\n");
    home.run(&["register", "-c", "c.toml"])
        .expect(3, &["error[tls.file]: ", "none.pem cannot be used", "No such file or directory"]);
    home.write("c.toml", "[pbx]\ntls_cert = \"a.pem\"\n");
    home.run(&["config", "check", "-c", "c.toml"]).expect(3, &["[pbx] has `tls_cert` without `tls_key`"]);
    home.write("c.toml", "[account.a]\nserver = \"x\"\nuser = \"y\"\ntls_pin = \"sha256:12\"\n");
    home.run(&["config", "check", "-c", "c.toml"]).expect(3, &["c.toml:4:11", "the 64 hex digits"]);
}
