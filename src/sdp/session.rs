//! The session description as data (RFC 8866 §5), its writer and the look-ups of RFC 3264.

use super::plan::Direction;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A session description. Lines that we do not use are kept as text, so that a bridge can pass them on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp {
    /// The o= line.
    pub origin: Origin,
    /// The s= line; `-` for none.
    pub name: String,
    /// The i=, u=, e= and p= lines, whole and in this order.
    pub about: Vec<String>,
    /// The c= line that holds for streams without their own.
    pub connection: Option<Connection>,
    /// The b= lines without their letter (`AS:64`).
    pub bandwidths: Vec<String>,
    /// The t=, r= and z= lines, whole.
    pub timing: Vec<String>,
    /// The a= lines before the first m= line.
    pub attributes: Vec<Attribute>,
    /// One for each m= line, in order.
    pub media: Vec<Media>,
}

/// Who made the description, and its version (RFC 8866 §5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `-` for none; never holds a space.
    pub username: String,
    /// A number by the RFC, kept as text because some peers exceed 64 bits.
    pub session_id: String,
    /// Likewise; rises with every change.
    pub version: String,
    /// The maker's address.
    pub host: Host,
}

/// The address of a c= or o= line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A host name, or whatever else stands there, with its address type (`IP4` or `IP6`).
    Name {
        /// `IP4` or `IP6` as written.
        family: String,
        /// The name.
        name: String,
    },
}

/// A c= line (RFC 8866 §5.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The address.
    pub host: Host,
    /// What follows the first slash of a multicast address (`127/3`).
    pub suffix: Option<String>,
}

/// An a= line. Its [`fmt::Debug`] leaves out keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// What stands before the colon.
    pub name: String,
    /// What stands after it.
    pub value: Option<String>,
}

/// An m= line and what belongs to it (RFC 8866 §5.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video` …
    pub kind: String,
    /// The port; 0 refuses the stream.
    pub port: u16,
    /// The number of ports, if it was given (`49170/2`).
    pub port_count: Option<u16>,
    /// `RTP/AVP` …
    pub protocol: String,
    /// Payload types for RTP, anything for others.
    pub formats: Vec<String>,
    /// The i= line.
    pub info: Option<String>,
    /// The c= lines.
    pub connections: Vec<Connection>,
    /// The b= lines without their letter.
    pub bandwidths: Vec<String>,
    /// The a= lines.
    pub attributes: Vec<Attribute>,
}

impl Sdp {
    /// Writes the description with CRLF after every line.
    pub fn encode(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// The c= line that holds for `media`: its own first one, else that of the session.
    pub fn connection_of<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connections.first().or(self.connection.as_ref())
    }

    /// The direction of `media` as its sender sees it: its own attribute, else that of the session, else both ways.
    pub fn direction_of(&self, media: &Media) -> Direction {
        direction(&media.attributes).or_else(|| direction(&self.attributes)).unwrap_or(Direction::SendRecv)
    }

    /// The index of the first audio stream over RTP or SRTP that is not refused.
    pub fn audio(&self) -> Option<usize> {
        self.media.iter().position(Media::is_open_audio)
    }
}

impl Media {
    /// Whether this is an audio stream over RTP or SRTP that is not refused.
    pub fn is_open_audio(&self) -> bool {
        let is_rtp = self.is_plain_rtp() || self.is_srtp();
        self.port != 0 && self.kind.eq_ignore_ascii_case("audio") && is_rtp
    }

    /// Whether it is SRTP with keys in the description, with or without the feedback profile (RFC 3711, RFC 5124).
    pub fn is_srtp(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("RTP/SAVP") || self.protocol.eq_ignore_ascii_case("RTP/SAVPF")
    }

    /// Whether it is unprotected RTP, with or without the feedback profile (RFC 3551, RFC 4585).
    pub fn is_plain_rtp(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("RTP/AVP") || self.protocol.eq_ignore_ascii_case("RTP/AVPF")
    }

    /// The value of the first attribute `name`; `Some("")` for one without value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|attribute| attribute.is(name)).map(Attribute::text)
    }

    /// The values of all attributes `name`.
    pub fn attributes_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |attribute| attribute.is(name)).map(Attribute::text)
    }

    /// The same m-line refused: port 0, nothing below it (RFC 3264 §6).
    #[must_use]
    pub fn refused(&self) -> Self {
        Self {
            port: 0,
            port_count: None,
            info: None,
            connections: Vec::new(),
            bandwidths: Vec::new(),
            attributes: Vec::new(),
            ..self.clone()
        }
    }
}

impl Attribute {
    /// An attribute without value.
    pub fn flag(name: &str) -> Self {
        Self { name: name.into(), value: None }
    }

    /// An attribute with a value.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }

    /// Whether it is called `name`; attribute names are case-sensitive (RFC 8866 §5.13).
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.is("crypto") { Some("***") } else { self.value.as_deref() };
        f.debug_struct("Attribute").field("name", &self.name).field("value", &value).finish()
    }
}

impl Connection {
    /// A c= line with one address.
    pub const fn new(ip: IpAddr) -> Self {
        Self { host: Host::Ip(ip), suffix: None }
    }
}

fn direction(attributes: &[Attribute]) -> Option<Direction> {
    attributes.iter().find_map(|attribute| match attribute.name.as_str() {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    })
}

/// The attribute for `direction`.
pub(super) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::SendRecv => "sendrecv",
        Direction::SendOnly => "sendonly",
        Direction::RecvOnly => "recvonly",
        Direction::Inactive => "inactive",
    }
}

/// The RTCP address that `media` names: `a=rtcp` (RFC 3605), else the port after RTP's.
pub(super) fn rtcp_address(media: &Media, rtp: SocketAddr) -> SocketAddr {
    let next = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or_else(|| rtp.port()));
    let Some(value) = media.attribute("rtcp") else { return next };
    let mut words = value.split_ascii_whitespace();
    let Some(port) = words.next().and_then(|port| port.parse().ok()).filter(|port| *port != 0) else { return next };
    let ip = words.nth(2).and_then(|ip| ip.parse::<IpAddr>().ok());
    let ip = ip.filter(|ip| ip.is_ipv4() == rtp.is_ipv4() && is_unicast(*ip)).unwrap_or_else(|| rtp.ip());
    SocketAddr::new(ip, port)
}

/// Whether one host can be meant: not unspecified, not multicast, not broadcast.
pub(super) fn is_unicast(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => write!(f, "IN IP4 {ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "IN IP6 {ip}"),
            Self::Name { family, name } => write!(f, "IN {family} {name}"),
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.suffix.as_ref().map_or(Ok(()), |suffix| write!(f, "/{suffix}"))
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}:{value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} {}", self.kind, self.port)?;
        if let Some(count) = self.port_count {
            write!(f, "/{count}")?;
        }
        write!(f, " {}", self.protocol)?;
        for format in &self.formats {
            write!(f, " {format}")?;
        }
        f.write_str("\r\n")?;
        if let Some(info) = &self.info {
            write!(f, "i={info}\r\n")?;
        }
        for connection in &self.connections {
            write!(f, "c={connection}\r\n")?;
        }
        for bandwidth in &self.bandwidths {
            write!(f, "b={bandwidth}\r\n")?;
        }
        for attribute in &self.attributes {
            write!(f, "a={attribute}\r\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin { username, session_id, version, host } = &self.origin;
        write!(f, "v=0\r\no={username} {session_id} {version} {host}\r\ns={}\r\n", self.name)?;
        for line in &self.about {
            write!(f, "{line}\r\n")?;
        }
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        for bandwidth in &self.bandwidths {
            write!(f, "b={bandwidth}\r\n")?;
        }
        for line in &self.timing {
            write!(f, "{line}\r\n")?;
        }
        for attribute in &self.attributes {
            write!(f, "a={attribute}\r\n")?;
        }
        for media in &self.media {
            write!(f, "{media}")?;
        }
        Ok(())
    }
}
