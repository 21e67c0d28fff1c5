//! What of an X.509 certificate (RFC 5280) a person, a pin or a SIP name check (RFC 5922) asks for.
//!
//! The chain, its signatures and its purpose are judged by webpki; this reads names, validity and key, no more.

use crate::engine::PeerCertificate;
use std::net::IpAddr;

/// Names of one certificate that are looked at.
const MAX_NAMES: usize = 200;
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
const SEQUENCE: u8 = 0x30;

/// A name that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// A domain, perhaps with a wildcard; lower case.
    Dns(String),
    /// The host of a `sip:` URI without user; lower case.
    Sip(String),
    Ip(IpAddr),
    /// Any other URI.
    Other(String),
}

/// A certificate that could be read.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    pub(super) names: Vec<Name>,
    subject: &'a [u8],
    issuer: &'a [u8],
    /// Seconds since 1970.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    /// The whole SubjectPublicKeyInfo.
    pub(super) key_info: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads DER; `None` when it is no certificate.
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut tbs = Der(Der(Der(der).expect(SEQUENCE)?).expect(SEQUENCE)?);
        if tbs.0.first() == Some(&0xa0) {
            tbs.next()?; // version
        }
        tbs.next()?; // serial number
        tbs.next()?; // signature algorithm
        let issuer = tbs.expect(SEQUENCE)?;
        let mut validity = Der(tbs.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let subject = tbs.expect(SEQUENCE)?;
        let key_info = tbs.next()?.whole;
        let mut names = Vec::new();
        while let Some(item) = tbs.next() {
            if item.tag == 0xa3 {
                names = alt_names(Der(Der(item.content).expect(SEQUENCE)?));
            }
        }
        Some(Self { names, subject, issuer, not_before, not_after, key_info })
    }

    pub(super) fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// What a person needs to judge it.
    pub(super) fn describe(&self, sha256: [u8; 32]) -> PeerCertificate {
        PeerCertificate {
            names: self.names.iter().map(Name::to_string).collect(),
            subject: part(self.subject, COMMON_NAME).unwrap_or_default(),
            issuer: part(self.issuer, COMMON_NAME).or_else(|| part(self.issuer, ORGANISATION)).unwrap_or_default(),
            valid_from: day(self.not_before),
            valid_until: day(self.not_after),
            sha256: hex(&sha256),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) | Self::Other(name) => f.write_str(name),
            Self::Sip(host) => write!(f, "sip:{host}"),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The rest of some DER.
struct Der<'a>(&'a [u8]);

struct Item<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<Item<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Item { tag, content, whole })
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|item| item.tag == tag).map(|item| item.content)
    }
}

fn alt_names(mut extensions: Der<'_>) -> Vec<Name> {
    let mut names = Vec::new();
    while let Some(extension) = extensions.expect(SEQUENCE) {
        let mut parts = Der(extension);
        if parts.expect(0x06) != Some(SUBJECT_ALT_NAME) {
            continue;
        }
        // Perhaps `critical` comes first.
        let value = std::iter::from_fn(|| parts.next()).find(|item| item.tag == 0x04);
        let Some(list) = value.and_then(|item| Der(item.content).expect(SEQUENCE)) else { continue };
        let mut list = Der(list);
        names.extend(std::iter::from_fn(|| list.next()).filter_map(|item| name(&item)).take(MAX_NAMES));
    }
    names
}

fn name(item: &Item<'_>) -> Option<Name> {
    match item.tag {
        0x82 => Some(Name::Dns(text(item.content).trim_end_matches('.').to_ascii_lowercase())),
        0x86 => {
            let uri = text(item.content);
            // RFC 5922 §7.1: only `sip:` counts, and only without a user.
            let host = uri.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("sip:")).and_then(|_| uri.get(4..));
            let host = host.and_then(|rest| rest.split([';', '?']).next()).filter(|host| !host.contains('@'));
            Some(host.map_or_else(|| Name::Other(uri.clone()), |host| Name::Sip(host.to_ascii_lowercase())))
        }
        0x87 => match item.content.len() {
            4 => <[u8; 4]>::try_from(item.content).ok().map(|ip| Name::Ip(ip.into())),
            16 => <[u8; 16]>::try_from(item.content).ok().map(|ip| Name::Ip(ip.into())),
            _ => None,
        },
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first value of one kind in a distinguished name.
fn part(name: &[u8], kind: &[u8]) -> Option<String> {
    let mut sets = Der(name);
    while let Some(set) = sets.expect(0x31) {
        let mut pair = Der(Der(set).expect(SEQUENCE)?);
        if pair.expect(0x06) == Some(kind) {
            return pair.next().map(|value| text(value.content));
        }
    }
    None
}

/// UTCTime or GeneralizedTime, both in UTC as RFC 5280 §4.1.2.5 wants them.
fn time(item: Item<'_>) -> Option<i64> {
    let digits = std::str::from_utf8(item.content).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (item.tag, digits.len()) {
        (0x17, 12) => {
            let (year, rest) = digits.split_at(2);
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (0x18, 14) => {
            let (year, rest) = digits.split_at(4);
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let pair = |at: usize| rest.get(at..at + 2).and_then(|pair| pair.parse::<i64>().ok());
    let days = days_before(year, pair(0)?, pair(2)?);
    Some(days * 86_400 + pair(4)? * 3600 + pair(6)? * 60 + pair(8)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted from March so that leap days come last.
const fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// `2026-01-31`.
fn day(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        for (year, month, date, days) in
            [(1970, 1, 1, 0), (2000, 2, 29, 11_016), (2026, 11, 23, 20_780), (1969, 12, 31, -1)]
        {
            assert_eq!(days_before(year, month, date), days);
            assert_eq!(day(days * 86_400), format!("{year:04}-{month:02}-{date:02}"));
        }
    }

    #[test]
    fn names_validity_and_key_are_read_and_nothing_breaks_when_bytes_are_missing_or_wrong() {
        let mut params = rcgen::CertificateParams::new(vec!["PBX.example.org".to_owned()]).expect("a name");
        let uri = |text: &str| rcgen::SanType::URI(text.try_into().expect("text"));
        params.subject_alt_names.extend([
            uri("sip:example.org"),
            uri("sip:user@example.org"),
            rcgen::SanType::IpAddress(IpAddr::from([192, 0, 2, 1])),
        ]);
        params.not_after = rcgen::date_time_ymd(2051, 2, 3);
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let der = made.der();
        let read = Certificate::read(der).expect("a certificate");
        let names: Vec<_> = read.names.iter().map(Name::to_string).collect();
        assert_eq!(names, ["pbx.example.org", "sip:example.org", "sip:user@example.org", "192.0.2.1"]);
        assert!(matches!(read.names.get(2), Some(Name::Other(_))));
        assert_eq!(read.describe([0; 32]).valid_until, "2051-02-03");
        assert!(read.is_self_issued());
        for end in 0..der.len() {
            let _ = Certificate::read(&der[..end]);
            let mut bent = der.to_vec();
            bent[end] ^= 0xff;
            let _ = Certificate::read(&bent);
        }
    }
}
