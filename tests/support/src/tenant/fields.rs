//! The fields of a request body, read strictly (RFC 6749 sections 2.3.1, 3.1 and 3.2, appendix B;
//! RFC 8259).
//!
//! JSON and form bodies are accepted, as documented at <https://qlik.dev/apis/rest/oauth>. Client id
//! and secret can be in a Basic header instead, as Qlik's Python SDK sends them. A repeated field,
//! credentials in two places, or a body of another type is rejected.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::refusal::{Refusal, Refused};

/// The fields, by name.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: BTreeMap<String, Value>,
}

impl Fields {
    /// Parses the body by its content type.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Refused> {
        let malformed = |detail| Refusal::Malformed.because(detail);
        let content_type = one_header(headers, &CONTENT_TYPE)?.unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/json") {
            serde_json::from_slice(body).map_err(|_| malformed("the body is no JSON object with unique names"))
        } else if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let body = str::from_utf8(body).map_err(|_| malformed("the form is not UTF-8"))?;
            let mut fields = Self::default();
            for (name, value) in form_urlencoded::parse(body.as_bytes()) {
                let value = Value::String(value.into_owned());
                if fields.values.insert(name.into_owned(), value).is_some() {
                    return Err(malformed("a field is repeated"));
                }
            }
            Ok(fields)
        } else {
            Err(malformed("the content type is neither JSON nor form"))
        }
    }

    /// Reads client id and secret from the Basic header, if there is one.
    pub(super) fn with_basic(mut self, headers: &HeaderMap) -> Result<Self, Refused> {
        let malformed = |detail| Refusal::Malformed.because(detail);
        let Some(header) = one_header(headers, &AUTHORIZATION)? else {
            return Ok(self);
        };
        let (client_id, secret) = basic(header).ok_or(malformed("the authorization header is not Basic"))?;
        if self.values.contains_key("client_secret") || self.values.contains_key("client_assertion") {
            return Err(malformed("more than one way of authentication"));
        }
        let named = self.values.insert("client_id".to_owned(), Value::String(client_id.clone()));
        if named.is_some_and(|named| named != client_id.as_str()) {
            return Err(malformed("two different client ids"));
        }
        self.values.insert("client_secret".to_owned(), Value::String(secret));
        Ok(self)
    }

    /// A text field. An empty one counts as absent (RFC 6749 section 3.1).
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Refused> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(Refusal::Malformed.because("a field that must be text is not")),
        }
    }

    /// A required text field.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refused> {
        self.text(name)?.ok_or(Refusal::Malformed.because("a required field is missing"))
    }

    /// All fields.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// A field of any type.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }
}

/// The value of a header that must not be repeated.
pub(super) fn one_header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a str>, Refused> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Refusal::Malformed.because("a header is repeated"));
    }
    first
        .map(http::HeaderValue::to_str)
        .transpose()
        .map_err(|_| Refusal::Malformed.because("a header is not plain text"))
}

/// Id and secret of a Basic header, each form-encoded inside it (RFC 6749 section 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, secret) = decoded.split_once(':')?;
    Some((form_decoded(client_id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // Separators are encoded inside values, so that exactly one pair is parsed.
    form_urlencoded::parse(text.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames)
    }
}

/// Parses an object and rejects a repeated name, which serde_json would accept.
struct UniqueNames;

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Fields;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with unique names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some((name, value)) = object.next_entry::<String, Value>()? {
            if fields.values.insert(name, value).is_some() {
                return Err(A::Error::custom("a name is repeated"));
            }
        }
        Ok(fields)
    }
}
