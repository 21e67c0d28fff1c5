//! The ordered header list and its typed views (RFC 3261 §7.3, §20).

use super::grammar::{decimal, split_list, trim};
use super::{CSeq, Contacts, HeaderName, NameAddr, Via};

/// The headers of a message in order; list headers hold one element per entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    entries: Vec<(HeaderName, String)>,
}

/// Why a typed view of a header cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The header is not there.
    #[error("there is no {0} header")]
    Missing(HeaderName),
    /// The header is there, its value makes no sense.
    #[error("the {name} header is malformed: {reason}")]
    Malformed {
        /// Which header.
        name: HeaderName,
        /// What is wrong with it.
        reason: String,
    },
}

impl HeaderError {
    /// The header it is about.
    pub fn name(&self) -> &HeaderName {
        match self {
            Self::Missing(name) | Self::Malformed { name, .. } => name,
        }
    }

    pub(super) fn malformed(name: &HeaderName, reason: impl ToString) -> Self {
        Self::Malformed { name: name.clone(), reason: reason.to_string() }
    }
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first value of a header.
    pub fn get(&self, name: &HeaderName) -> Option<&str> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a header in order.
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
        self.entries.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether the header is there.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }

    /// Appends a header; a line end in the value becomes a space, so that no value can smuggle in a header.
    pub fn push(&mut self, name: HeaderName, value: impl Into<String>) {
        self.entries.push((name, one_line(value.into())));
    }

    /// Puts a header before all others of its name, or at the very start when it is the first.
    pub fn push_front(&mut self, name: HeaderName, value: impl Into<String>) {
        let at = self.entries.iter().position(|(key, _)| *key == name).unwrap_or(0);
        self.entries.insert(at, (name, one_line(value.into())));
    }

    /// Replaces all values of a header by one, in the place of the first.
    pub fn set(&mut self, name: HeaderName, value: impl Into<String>) {
        let value = one_line(value.into());
        match self.entries.iter().position(|(key, _)| *key == name) {
            Some(at) => {
                let mut index = 0;
                self.entries.retain(|(key, _)| {
                    index += 1;
                    index <= at + 1 || *key != name
                });
                if let Some(entry) = self.entries.get_mut(at) {
                    entry.1 = value;
                }
            }
            None => self.entries.push((name, value)),
        }
    }

    /// Removes all values of a header and says whether there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let before = self.entries.len();
        self.entries.retain(|(key, _)| key != name);
        self.entries.len() < before
    }

    /// Removes and gives the first value of a header.
    pub fn pop_front(&mut self, name: &HeaderName) -> Option<String> {
        let at = self.entries.iter().position(|(key, _)| key == name)?;
        Some(self.entries.remove(at).1)
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &str)> {
        self.entries.iter().map(|(name, value)| (name, value.as_str()))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn need(&self, name: &HeaderName) -> Result<&str, HeaderError> {
        self.get(name).ok_or_else(|| HeaderError::Missing(name.clone()))
    }

    /// The topmost Via.
    pub fn via(&self) -> Result<Via, HeaderError> {
        let text = self.need(&HeaderName::VIA)?;
        let first = split_list(text, b',').next().unwrap_or_default();
        first.parse().map_err(|error| HeaderError::malformed(&HeaderName::VIA, error))
    }

    /// All Vias, topmost first; an empty list is an error.
    pub fn vias(&self) -> Result<Vec<Via>, HeaderError> {
        self.need(&HeaderName::VIA)?;
        self.get_all(&HeaderName::VIA)
            .flat_map(|text| split_list(text, b','))
            .map(|text| text.parse().map_err(|error| HeaderError::malformed(&HeaderName::VIA, error)))
            .collect()
    }

    /// The From header.
    pub fn from(&self) -> Result<NameAddr, HeaderError> {
        self.name_addr(&HeaderName::FROM)
    }

    /// The To header.
    pub fn to(&self) -> Result<NameAddr, HeaderError> {
        self.name_addr(&HeaderName::TO)
    }

    /// Any header that is one name and address (Refer-To, Referred-By, Reply-To …).
    pub fn name_addr(&self, name: &HeaderName) -> Result<NameAddr, HeaderError> {
        self.need(name)?.parse().map_err(|error| HeaderError::malformed(name, error))
    }

    /// The Call-ID.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        match self.need(&HeaderName::CALL_ID)? {
            id if id.is_empty() || id.contains([' ', '\t']) => {
                Err(HeaderError::malformed(&HeaderName::CALL_ID, "a Call-ID is one word"))
            }
            id => Ok(id),
        }
    }

    /// The CSeq.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        let text = self.need(&HeaderName::CSEQ)?;
        text.parse().map_err(|error| HeaderError::malformed(&HeaderName::CSEQ, error))
    }

    /// The contacts; without a Contact header an empty list.
    pub fn contacts(&self) -> Result<Contacts, HeaderError> {
        let mut values = self.get_all(&HeaderName::CONTACT).peekable();
        if values.peek().is_some_and(|first| trim(first) == "*") {
            values.next();
            return match values.next() {
                None => Ok(Contacts::Star),
                Some(_) => Err(HeaderError::malformed(&HeaderName::CONTACT, "a star stands alone")),
            };
        }
        Ok(Contacts::List(self.addresses(&HeaderName::CONTACT)?))
    }

    /// The first contact, as a dialog needs it (§12.1); a star is malformed here.
    pub fn contact(&self) -> Result<NameAddr, HeaderError> {
        match self.contacts()? {
            Contacts::Star => Err(HeaderError::malformed(&HeaderName::CONTACT, "a star is no address")),
            Contacts::List(list) => list.into_iter().next().ok_or(HeaderError::Missing(HeaderName::CONTACT)),
        }
    }

    /// The Route set, topmost first.
    pub fn routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.addresses(&HeaderName::ROUTE)
    }

    /// The Record-Route set, topmost first.
    pub fn record_routes(&self) -> Result<Vec<NameAddr>, HeaderError> {
        self.addresses(&HeaderName::RECORD_ROUTE)
    }

    /// Every element of a header that is a list of names and addresses.
    pub fn addresses(&self, name: &HeaderName) -> Result<Vec<NameAddr>, HeaderError> {
        self.get_all(name)
            .flat_map(NameAddr::parse_list)
            .map(|address| address.map_err(|error| HeaderError::malformed(name, error)))
            .collect()
    }

    /// Max-Forwards; `None` when there is none.
    pub fn max_forwards(&self) -> Result<Option<u8>, HeaderError> {
        let Some(text) = self.get(&HeaderName::MAX_FORWARDS) else { return Ok(None) };
        match decimal(text).and_then(|hops| u8::try_from(hops).ok()) {
            Some(hops) => Ok(Some(hops)),
            None => Err(HeaderError::malformed(&HeaderName::MAX_FORWARDS, "a number up to 255 is wanted")),
        }
    }

    /// Expires in seconds; a number above 2^32 - 1 is taken as that, anything else as no header.
    pub fn expires(&self) -> Option<u32> {
        self.seconds(&HeaderName::EXPIRES)
    }

    /// A header of seconds that may be followed by a comment or parameters (Expires, Min-Expires, Retry-After).
    pub fn seconds(&self, name: &HeaderName) -> Option<u32> {
        let text = self.get(name)?;
        let digits = text.split([' ', '\t', ';', '(']).next()?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(decimal(digits).and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(u32::MAX))
    }

    /// The elements of a header that is a list of tokens (Allow, Supported, Require …).
    pub fn tokens(&self, name: &HeaderName) -> Vec<String> {
        self.get_all(name).flat_map(|text| split_list(text, b',')).map(str::to_owned).collect()
    }

    /// The media type of the body, without its parameters.
    pub fn content_type(&self) -> Option<&str> {
        let text = self.get(&HeaderName::CONTENT_TYPE)?;
        Some(trim(text.split(';').next().unwrap_or(text)))
    }
}

impl FromIterator<(HeaderName, String)> for Headers {
    fn from_iter<I: IntoIterator<Item = (HeaderName, String)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|(name, value)| (name, one_line(value))).collect() }
    }
}

fn one_line(value: String) -> String {
    if value.contains(['\r', '\n']) { value.replace(['\r', '\n'], " ") } else { value }
}
