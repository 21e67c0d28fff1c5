//! Vectors of RFC 7616 and RFC 2617, then client and server in dialogue.

use super::*;
use crate::rng::Rng;
use crate::sip::message::{HeaderName, Method, Request, Response, StatusCode, Uri};
use crate::time::{Duration, Instant};
use std::net::IpAddr;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8));

fn rng() -> Rng {
    Rng::new([3; 32])
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(1000 + seconds)
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn request() -> Request {
    Request::new(Method::Register, Uri::sip(None, crate::sip::message::Host::Name("pbx.example".to_owned())))
}

fn challenged(status: StatusCode, headers: &[(HeaderName, &str)]) -> Response {
    let mut response = Response::new(status);
    for (name, value) in headers {
        response.headers.push(name.clone(), *value);
    }
    response
}

fn asks(values: &[String]) -> Response {
    let mut response = Response::new(StatusCode::UNAUTHORIZED);
    for value in values {
        response.headers.push(HeaderName::WWW_AUTHENTICATE, value);
    }
    response
}

fn alice(password: &str) -> DigestClient {
    DigestClient::new(Credentials { user: "alice".to_owned(), password: secret(password), realm: None })
}

fn sent(request: &Request) -> Fields {
    Fields::parse(request.headers.get(&HeaderName::AUTHORIZATION).expect("credentials")).expect("readable")
}

struct Server(DigestServer, StoredHa1);

impl Server {
    fn new() -> Self {
        let realm = "pbx.example";
        Self(DigestServer::new(realm, [9; 32]), StoredHa1::from_password("alice", realm, &secret("right")))
    }

    fn check(&mut self, now: Instant, from: IpAddr, request: &Request) -> Result<String, Refused> {
        let Self(server, stored) = self;
        server.verify(now, from, request, |user| (user == "alice").then_some(stored))
    }
}

#[test]
fn rfc_7616_3_9_1_gives_the_published_responses() {
    let parts = |algorithm| Parts {
        algorithm,
        nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        protection: Some(Protection {
            nc: "00000001",
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            qop: "auth",
        }),
        method: "GET",
        uri: "/dir/index.html",
    };
    let mufasa = |hash| ha1(hash, "Mufasa", "http-auth@example.org", &secret("Circle of Life"));
    assert_eq!(response(&mufasa(Hash::Md5), &parts(Algorithm::MD5)), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(
        response(&mufasa(Hash::Sha256), &parts(Algorithm::SHA_256)),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
}

#[test]
fn rfc_7616_3_9_2_gives_the_response_of_its_erratum_4897() {
    let parts = Parts {
        algorithm: Algorithm::SHA_512_256,
        nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        protection: Some(Protection {
            nc: "00000001",
            cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            qop: "auth",
        }),
        method: "GET",
        uri: "/doe.json",
    };
    let doe = ha1(Hash::Sha512_256, "J\u{e4}s\u{f8}n Doe", "api@example.org", &secret("Secret, or not?"));
    assert_eq!(response(&doe, &parts), "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5");
}

#[test]
fn rfc_2617_3_5_gives_the_published_responses_with_and_without_qop() {
    let mufasa = ha1(Hash::Md5, "Mufasa", "testrealm@host.com", &secret("Circle Of Life"));
    let mut parts = Parts {
        algorithm: Algorithm::MD5,
        nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        protection: Some(Protection { nc: "00000001", cnonce: "0a4f113b", qop: "auth" }),
        method: "GET",
        uri: "/dir/index.html",
    };
    assert_eq!(response(&mufasa, &parts), "6629fae49393a05397450978507c4ef1");
    parts.protection = None;
    assert_eq!(response(&mufasa, &parts), "670fd8c2df070c60b045671b8b24ff02");
}

#[test]
fn a_session_algorithm_hashes_nonce_and_cnonce_into_ha1() {
    let ha1 = secret("00");
    let parts = Parts {
        algorithm: Algorithm { hash: Hash::Md5, session: true },
        nonce: "n",
        protection: Some(Protection { nc: "00000001", cnonce: "c", qop: "auth" }),
        method: "INVITE",
        uri: "sip:b",
    };
    let session = Hash::Md5.hex(&[b"00", b"n", b"c"]);
    let plain = Parts { algorithm: Algorithm::MD5, ..parts };
    assert_eq!(response(&ha1, &parts), response(&secret(&session), &plain));
}

#[test]
fn a_challenge_is_read_with_quotes_escapes_and_odd_spacing() {
    let fields = Fields::parse("dIgEsT Realm = \"a \\\"b\\\", c\" ,nonce=\"n\",, qop=auth").expect("readable");
    assert_eq!(fields.get("realm"), Some("a \"b\", c"));
    assert_eq!(fields.get("nonce"), Some("n"));
    assert_eq!(fields.get("qop"), Some("auth"));
    assert_eq!(Fields::parse("Basic realm=\"x\""), Err(FieldsError::OtherScheme));
    assert_eq!(Fields::parse("Negotiate"), Err(FieldsError::OtherScheme));
    assert_eq!(Fields::parse("Digest"), Err(FieldsError::Malformed));
    assert_eq!(Fields::parse("Digest realm=\"x"), Err(FieldsError::Malformed));
    assert_eq!(Fields::parse("Digest realm=x realm=y"), Err(FieldsError::Malformed));
    assert_eq!(Fields::parse("Digest realm=x, realm=y"), Err(FieldsError::Malformed));
    assert_eq!(Fields::parse(&format!("Digest realm=\"{}\"", "x".repeat(600))), Err(FieldsError::TooLong));
}

#[test]
fn client_and_server_agree_and_the_nonce_count_rises() {
    let (mut server, mut client, mut rng) = (Server::new(), alice("right"), rng());
    let mut request = request();
    assert_eq!(server.check(at(0), CLIENT, &request), Err(Refused::Missing));

    let challenge = asks(&server.0.challenge(at(0), CLIENT, false));
    assert_eq!(client.authorize(&mut rng, &challenge, &mut request), Ok(()));
    assert_eq!(sent(&request).get("algorithm"), Some("SHA-256"));
    assert_eq!(sent(&request).get("nc"), Some("00000001"));
    assert_eq!(server.check(at(0), CLIENT, &request), Ok("alice".to_owned()));

    client.preemptive(&mut request);
    assert_eq!(sent(&request).get("nc"), Some("00000002"));
    assert_eq!(server.check(at(1), CLIENT, &request), Ok("alice".to_owned()));
}

#[test]
fn a_replayed_or_lower_nonce_count_is_stale() {
    let (mut server, mut client, mut rng) = (Server::new(), alice("right"), rng());
    let mut first = request();
    let challenge = asks(&server.0.challenge(at(0), CLIENT, false));
    client.authorize(&mut rng, &challenge, &mut first).expect("answered");
    let mut second = first.clone();
    client.preemptive(&mut second);

    assert_eq!(server.check(at(0), CLIENT, &second), Ok("alice".to_owned()));
    assert_eq!(server.check(at(0), CLIENT, &second), Err(Refused::Stale));
    assert_eq!(server.check(at(0), CLIENT, &first), Err(Refused::Stale));
}

#[test]
fn a_nonce_dies_after_300_seconds_and_the_client_takes_the_stale_challenge() {
    let (mut server, mut client, mut rng) = (Server::new(), alice("right"), rng());
    let mut request = request();
    let challenge = asks(&server.0.challenge(at(0), CLIENT, false));
    client.authorize(&mut rng, &challenge, &mut request).expect("answered");
    assert_eq!(server.check(at(300), CLIENT, &request), Ok("alice".to_owned()));

    client.preemptive(&mut request);
    assert_eq!(server.check(at(301), CLIENT, &request), Err(Refused::Stale));
    let challenge = asks(&server.0.challenge(at(301), CLIENT, true));
    assert_eq!(client.authorize(&mut rng, &challenge, &mut request), Ok(()));
    assert_eq!(server.check(at(301), CLIENT, &request), Ok("alice".to_owned()));
}

#[test]
fn the_nonce_of_another_client_or_another_server_is_stale() {
    let (mut server, mut client, mut rng) = (Server::new(), alice("right"), rng());
    let mut request = request();
    let challenge = asks(&server.0.challenge(at(0), OTHER, false));
    client.authorize(&mut rng, &challenge, &mut request).expect("answered");
    assert_eq!(server.check(at(0), CLIENT, &request), Err(Refused::Stale));

    let mut stranger = DigestServer::new("pbx.example", [1; 32]);
    let challenge = asks(&stranger.challenge(at(0), CLIENT, true));
    client.authorize(&mut rng, &challenge, &mut request).expect("answered");
    assert_eq!(server.check(at(0), CLIENT, &request), Err(Refused::Stale));
}

#[test]
fn a_wrong_password_and_an_unknown_user_look_the_same() {
    let (mut server, mut rng) = (Server::new(), rng());
    for (user, password) in [("alice", "wrong"), ("nobody", "right")] {
        let mut request = request();
        let credentials = Credentials { user: user.to_owned(), password: secret(password), realm: None };
        let challenge = asks(&server.0.challenge(at(0), CLIENT, false));
        DigestClient::new(credentials).authorize(&mut rng, &challenge, &mut request).expect("answered");
        assert_eq!(server.check(at(0), CLIENT, &request), Err(Refused::Wrong { user: user.to_owned() }));
    }
}

#[test]
fn credentials_for_another_uri_or_with_an_unknown_qop_are_malformed() {
    let (mut server, mut client, mut rng) = (Server::new(), alice("right"), rng());
    let mut request = request();
    let challenge = asks(&server.0.challenge(at(0), CLIENT, false));
    client.authorize(&mut rng, &challenge, &mut request).expect("answered");

    let mut moved = request.clone();
    moved.uri = "sip:victim@pbx.example".parse().expect("a URI");
    assert_eq!(server.check(at(0), CLIENT, &moved), Err(Refused::Malformed));

    let value = request.headers.get(&HeaderName::AUTHORIZATION).expect("credentials").to_owned();
    for (from, to) in [("qop=auth", "qop=auth-int"), ("nc=00000001", "nc=1"), ("username=", "usernam=")] {
        let mut broken = request.clone();
        broken.headers.set(HeaderName::AUTHORIZATION, value.replace(from, to));
        assert_eq!(server.check(at(0), CLIENT, &broken), Err(Refused::Malformed), "{to}");
    }
}

#[test]
fn a_client_without_qop_is_let_in_once_per_nonce() {
    let (mut server, mut client, mut rng) = (Server::new(), alice("right"), rng());
    let mut request = request();
    let challenge = server.0.challenge(at(0), CLIENT, false).pop().expect("MD5 is last").replace(", qop=\"auth\"", "");
    client.authorize(&mut rng, &asks(&[challenge]), &mut request).expect("answered");
    assert_eq!(sent(&request).get("qop"), None);
    assert_eq!(sent(&request).get("nc"), None);
    assert_eq!(server.check(at(0), CLIENT, &request), Ok("alice".to_owned()));
    assert_eq!(server.check(at(0), CLIENT, &request), Err(Refused::Stale));
}

#[test]
fn the_client_takes_the_strongest_challenge_and_skips_unknown_ones() {
    let (mut client, mut rng, mut request) = (alice("x"), rng(), request());
    let challenge = asks(&[
        "Digest realm=\"r\", nonce=\"1\", algorithm=SHA3-512".to_owned(),
        "Digest realm=\"r\", nonce=\"2\", algorithm=MD5, qop=\"auth\"".to_owned(),
        "Digest realm=\"r\", nonce=\"3\", algorithm=SHA-512-256, qop=\"auth,auth-int\", opaque=\"o\"".to_owned(),
        "Digest realm=\"r\", nonce=\"4\", algorithm=SHA-256, qop=\"auth\"".to_owned(),
        "Bearer realm=\"r\"".to_owned(),
    ]);
    assert_eq!(client.authorize(&mut rng, &challenge, &mut request), Ok(()));
    assert_eq!(sent(&request).get("nonce"), Some("3"));
    assert_eq!(sent(&request).get("opaque"), Some("o"));
    assert_eq!(request.headers.get_all(&HeaderName::AUTHORIZATION).count(), 1);
}

#[test]
fn a_refused_answer_is_not_repeated() {
    let (mut client, mut rng, mut request) = (alice("wrong"), rng(), request());
    let ask = |nonce: &str| asks(&[format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"")]);
    assert_eq!(client.authorize(&mut rng, &ask("1"), &mut request), Ok(()));
    let rejected = AuthError::Rejected { realm: "r".to_owned(), user: "alice".to_owned(), algorithm: "MD5" };
    assert_eq!(client.authorize(&mut rng, &ask("1"), &mut request), Err(rejected.clone()));
    assert_eq!(client.authorize(&mut rng, &ask("2"), &mut request), Err(rejected));
}

#[test]
fn an_old_nonce_refused_without_stale_is_answered_once_more() {
    let (mut client, mut rng, mut request) = (alice("right"), rng(), request());
    let ask = |nonce: &str| asks(&[format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\"")]);
    client.authorize(&mut rng, &ask("1"), &mut request).expect("answered");
    client.preemptive(&mut request);
    assert_eq!(client.authorize(&mut rng, &ask("2"), &mut request), Ok(()));
    assert!(client.authorize(&mut rng, &ask("3"), &mut request).is_err());
}

#[test]
fn a_server_that_always_says_stale_is_left_after_three_times() {
    let (mut client, mut rng, mut request) = (alice("right"), rng(), request());
    let mut answered = 0;
    for nonce in 0..10 {
        let value = format!("Digest realm=\"r\", nonce=\"{nonce}\", qop=\"auth\", stale=true");
        if client.authorize(&mut rng, &asks(&[value]), &mut request).is_err() {
            break;
        }
        answered += 1;
    }
    assert_eq!(answered, 4); // the first answer and three for `stale`
}

#[test]
fn a_weaker_algorithm_than_before_is_refused() {
    let (mut client, mut rng, mut request) = (alice("x"), rng(), request());
    let ask = |algorithm: &str| asks(&[format!("Digest realm=\"r\", nonce=\"{algorithm}\", algorithm={algorithm}")]);
    client.authorize(&mut rng, &ask("SHA-256"), &mut request).expect("answered");
    assert_eq!(
        client.authorize(&mut rng, &ask("MD5"), &mut request),
        Err(AuthError::WeakerThanBefore { realm: "r".to_owned(), before: "SHA-256", now: "MD5" })
    );
}

#[test]
fn server_and_proxy_are_answered_in_one_request() {
    let (mut client, mut rng, mut request) = (alice("x"), rng(), request());
    let both = challenged(
        StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        &[
            (HeaderName::WWW_AUTHENTICATE, "Digest realm=\"home\", nonce=\"1\""),
            (HeaderName::PROXY_AUTHENTICATE, "Digest realm=\"edge\", nonce=\"2\""),
        ],
    );
    assert_eq!(client.authorize(&mut rng, &both, &mut request), Ok(()));
    assert_eq!(sent(&request).get("realm"), Some("home"));
    let proxy = request.headers.get(&HeaderName::PROXY_AUTHORIZATION).expect("credentials");
    assert_eq!(Fields::parse(proxy).expect("readable").get("realm"), Some("edge"));
}

#[test]
fn what_cannot_be_answered_says_why() {
    let (mut client, mut rng, mut request) = (alice("x"), rng(), request());
    let mut ask = |values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        client.authorize(&mut rng, &asks(&values), &mut request).expect_err("cannot be answered")
    };
    assert_eq!(ask(&[]), AuthError::NoChallenge);
    assert_eq!(
        ask(&["Basic realm=\"r\"", "Digest realm=\"r\", nonce=\"1\", algorithm=X"]),
        AuthError::Unsupported { algorithms: "Basic, X".to_owned() }
    );
    assert_eq!(
        ask(&["Digest realm=\"r\", nonce=\"1\", qop=\"auth-int\""]),
        AuthError::Unsupported { algorithms: "qop=auth-int".to_owned() }
    );
    assert!(!request.headers.has(&HeaderName::AUTHORIZATION));

    let elsewhere = Credentials { user: "a".to_owned(), password: secret("x"), realm: Some("home".to_owned()) };
    assert_eq!(
        DigestClient::new(elsewhere).authorize(
            &mut rng,
            &asks(&["Digest realm=\"r\", nonce=\"1\"".to_owned()]),
            &mut request
        ),
        Err(AuthError::OtherRealm { realm: "r".to_owned() })
    );
}

#[test]
fn proxies_in_a_row_each_see_their_credentials_again() {
    let (mut client, mut rng, mut request) = (alice("x"), rng(), request());
    let ask = |realm: &str, nonce: &str| {
        let value = format!("Digest realm=\"{realm}\", nonce=\"{nonce}\", qop=\"auth\"");
        challenged(StatusCode::PROXY_AUTHENTICATION_REQUIRED, &[(HeaderName::PROXY_AUTHENTICATE, &value)])
    };
    assert_eq!(client.authorize(&mut rng, &ask("near", "1"), &mut request), Ok(()));
    assert_eq!(client.authorize(&mut rng, &ask("far", "2"), &mut request), Ok(()));
    let shown: Vec<_> = request
        .headers
        .get_all(&HeaderName::PROXY_AUTHORIZATION)
        .filter_map(|value| Fields::parse(value).ok())
        .map(|fields| [fields.get("realm"), fields.get("nc")].map(|field| field.unwrap_or("").to_owned()))
        .collect();
    assert_eq!(shown, [["near", "00000002"], ["far", "00000001"]]);
    // The near one refuses what it has seen: that is its last word.
    assert!(matches!(client.authorize(&mut rng, &ask("near", "1"), &mut request), Err(AuthError::Rejected { .. })));
}

#[test]
fn credentials_of_another_scheme_are_none() {
    let (mut server, mut request) = (Server::new(), request());
    request.headers.push(HeaderName::AUTHORIZATION, "NoOneKnowsThisScheme opaque-data=here");
    assert_eq!(server.check(at(1), CLIENT, &request), Err(Refused::Missing));
}

#[test]
fn a_server_takes_the_algorithms_it_offers_and_no_other() {
    for (offered, used, let_in) in [
        (vec![Algorithm::SHA_512_256], Algorithm::SHA_512_256, true),
        (vec![Algorithm::SHA_512_256, Algorithm::SHA_256], Algorithm::SHA_512_256, true),
        (vec![Algorithm::SHA_256], Algorithm::SHA_256, true),
    ] {
        let Server(server, stored) = Server::new();
        let mut server = Server(server.with_algorithms(&offered), stored);
        let (mut client, mut rng, mut request) = (alice("right"), rng(), request());
        let challenges = server.0.challenge(at(1), CLIENT, false);
        assert_eq!(challenges.len(), offered.len());
        client.authorize(&mut rng, &asks(&challenges), &mut request).expect("the client knows them all");
        assert_eq!(sent(&request).get("algorithm"), Some(used.as_str()));
        assert_eq!(server.check(at(2), CLIENT, &request).is_ok(), let_in);
    }
    // An MD5 answer to a nonce of ours, though only SHA-256 was offered: the password may be right, but not the way.
    let Server(server, stored) = Server::new();
    let mut server = Server(server.with_algorithms(&[Algorithm::SHA_256]), stored);
    let weaker = server.0.challenge(at(1), CLIENT, false)[0].replace("SHA-256", "MD5");
    let (mut client, mut rng, mut request) = (alice("right"), rng(), request());
    client.authorize(&mut rng, &asks(&[weaker]), &mut request).expect("the client knows MD5");
    assert!(matches!(server.check(at(2), CLIENT, &request), Err(Refused::Wrong { .. })));
}
