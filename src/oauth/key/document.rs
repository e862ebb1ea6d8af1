//! Finds the private key in a text, also when an environment variable, YAML, JSON or a mail program changed the text.
//!
//! Whitespace, escapes and quotation marks are not in PEM's alphabet, so removing them cannot turn one key into another.
//! Ambiguous text is refused. This module returns bytes, which are parsed and checked afterwards.

use base64::Engine;
use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::BadKey;
use crate::oauth::pasted::{is_invisible, trimmed};

/// How often a text may be wrapped: quoted in base64 in quotes.
const WRAPPINGS: usize = 4;

/// A private key's bytes or JSON, and whether the form of the text had to be repaired.
pub(super) struct Document {
    pub(super) content: Content,
    pub(super) repaired: bool,
}

pub(super) enum Content {
    /// `BEGIN PRIVATE KEY`, DER.
    Pkcs8(Zeroizing<Vec<u8>>),
    /// `BEGIN RSA PRIVATE KEY`, DER.
    Pkcs1(Zeroizing<Vec<u8>>),
    /// `BEGIN EC PRIVATE KEY`, DER.
    Sec1(Zeroizing<Vec<u8>>),
    /// A JSON object, or text that begins like one.
    Json(Zeroizing<String>),
}

/// Finds it.
pub(super) fn find(text: &str) -> Result<Document, BadKey> {
    let mut repaired = trimmed(text) != text.trim();
    let mut text = Zeroizing::new(trimmed(text).to_owned());
    for _ in 0..WRAPPINGS {
        if text.starts_with('{') {
            return Ok(Document { content: Content::Json(text), repaired });
        }
        let inner = unquoted(&text).or_else(|| if text.contains(BEGIN) { None } else { decoded(&text) });
        match inner {
            Some(inner) => (text, repaired) = (inner, true),
            None => break,
        }
    }
    let compact = compact(&text);
    let content = one_block(&text, &compact)?;
    Ok(Document { content, repaired: repaired || !is_tidy(&text) })
}

/// JSON with doubled escapes, without them. No value of a JWK has a backslash.
pub(super) fn without_escapes(json: &str) -> Zeroizing<String> {
    let mut plain = Zeroizing::new(String::with_capacity(json.len()));
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                while rest.next_if_eq(&'\\').is_some() {}
                let _ = rest.next_if(|next| "nrt".contains(*next));
            }
            c if is_invisible(c) => {}
            c => plain.push(c),
        }
    }
    plain
}

const BEGIN: &str = "-----BEGIN";
const END: &str = "-----END";
const DASHES: &str = "-----";

/// The text inside of quotation marks, with its escapes decoded if it is a JSON string.
fn unquoted(text: &str) -> Option<Zeroizing<String>> {
    let quote = text.chars().next().filter(|quote| "\"'`".contains(*quote))?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let json = serde_json::from_str::<Zeroizing<String>>(text).ok();
    let inside = json.as_ref().map_or(inside, |text| text.as_str());
    Some(Zeroizing::new(trimmed(inside).to_owned()))
}

/// The decoded text, if this is the base64 of a text with a key.
fn decoded(text: &str) -> Option<Zeroizing<String>> {
    let bytes = base64(&compact(text), &alphabet::STANDARD)?;
    let text = trimmed(std::str::from_utf8(&bytes).ok()?);
    let holds_a_key = text.starts_with(['{', '"', '\'']) || text.contains(BEGIN) || text.starts_with("LS0tLS1CRUdJTi");
    holds_a_key.then(|| Zeroizing::new(text.to_owned()))
}

pub(super) fn base64(text: &str, alphabet: &Alphabet) -> Option<Zeroizing<Vec<u8>>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let mut bytes = Zeroizing::new(vec![0; text.len()]);
    let length = GeneralPurpose::new(alphabet, config).decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// The text without characters outside of PEM's alphabet: whitespace, invisible characters, and escapes of line breaks,
/// however often their backslash was doubled.
fn compact(text: &str) -> Zeroizing<String> {
    let mut compact = without_escapes(text);
    compact.retain(|c| !c.is_whitespace());
    compact
}

/// The only block with a private key.
fn one_block(text: &str, compact: &str) -> Result<Content, BadKey> {
    let blocks: Vec<_> = compact.split(BEGIN).skip(1).map(Block::read).collect();
    if blocks.iter().any(Block::is_encrypted) {
        return Err(BadKey::Encrypted);
    }
    let mut keys: Vec<_> = blocks.iter().filter(|block| block.is_key()).collect();
    keys.dedup_by_key(|block| block.body);
    match (keys.as_slice(), blocks.first()) {
        ([key], _) => key.content(),
        ([], Some(first)) => Err(first.is_no_key()),
        ([], None) => Err(without_blocks(text, compact)),
        _ => Err(BadKey::Several),
    }
}

/// The text between a first line and its last line.
struct Block<'t> {
    /// `PRIVATEKEY`: without spaces, which an environment may have removed.
    label: &'t str,
    /// The text between the two lines, if there is a last line.
    body: Option<&'t str>,
}

impl<'t> Block<'t> {
    /// The text after `-----BEGIN`.
    fn read(text: &'t str) -> Self {
        let (label, rest) = text.split_once(DASHES).unwrap_or((text, ""));
        let body =
            rest.split_once(END).filter(|(_, end)| end.starts_with(label) && end[label.len()..].starts_with(DASHES));
        Self { label, body: body.map(|(body, _)| body) }
    }

    fn is_key(&self) -> bool {
        matches!(self.label, "PRIVATEKEY" | "RSAPRIVATEKEY" | "ECPRIVATEKEY")
    }

    fn is_encrypted(&self) -> bool {
        self.label == "ENCRYPTEDPRIVATEKEY" || self.body.is_some_and(|body| body.contains("Proc-Type:4,ENCRYPTED"))
    }

    fn content(&self) -> Result<Content, BadKey> {
        let body = self.body.ok_or(BadKey::CutShort)?;
        if body.is_empty() || body.contains("...") || body.contains('…') {
            return Err(BadKey::Abridged);
        }
        let der = base64(body, &alphabet::STANDARD).ok_or(BadKey::Damaged)?;
        Ok(match self.label {
            "RSAPRIVATEKEY" => Content::Pkcs1(der),
            "ECPRIVATEKEY" => Content::Sec1(der),
            _ => Content::Pkcs8(der),
        })
    }

    fn is_no_key(&self) -> BadKey {
        match self.label {
            "OPENSSHPRIVATEKEY" => BadKey::OpenSsh,
            "DSAPRIVATEKEY" => BadKey::KeyType,
            "SSH2ENCRYPTEDPRIVATEKEY" => BadKey::Encrypted,
            "ECPARAMETERS" | "DHPARAMETERS" => BadKey::Parameters,
            label if label.starts_with("PGP") || label.starts_with("AGE") => BadKey::NotForSigning,
            label if label.ends_with("PUBLICKEY") => BadKey::Public,
            label if label.contains("CERTIFICATE") || ["PKCS7", "CMS", "X509CRL"].contains(&label) => {
                BadKey::Certificate
            }
            _ => BadKey::NotAKey,
        }
    }
}

/// Describes a text without `-----BEGIN`.
fn without_blocks(text: &str, compact: &str) -> BadKey {
    let lower = Zeroizing::new(compact.to_ascii_lowercase());
    if lower.starts_with("putty-user-key-file") {
        BadKey::Putty
    } else if ["ssh-", "ecdsa-sha2-", "sk-ssh-"].iter().any(|kind| text.starts_with(kind)) {
        BadKey::Public
    } else if lower.starts_with("<rsakeyvalue") {
        BadKey::Xml
    } else if lower.contains("begin") && lower.contains("privatekey") {
        // Dashes that a word processor replaced or that were lost.
        BadKey::Dashes
    } else if base64(compact, &alphabet::STANDARD).is_some_and(|bytes| is_der(&bytes)) {
        BadKey::NoFirstLine
    } else {
        BadKey::NotAKey
    }
}

/// One ASN.1 sequence, complete or truncated: the content of PEM.
pub(crate) fn is_der(bytes: &[u8]) -> bool {
    matches!(bytes, [0x30, 0x81 | 0x82, rest @ ..] if rest.len() > 60)
}

/// True when a strict PEM parser accepts the blocks of the text as they are.
fn is_tidy(text: &str) -> bool {
    let mut inside = false;
    text.lines().all(|line| {
        let (begins, ends) = (line.starts_with(BEGIN), line.starts_with(END));
        let is_body =
            !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        let tidy = match (begins || ends, inside) {
            (true, _) => line.ends_with(DASHES) && line.matches(DASHES).count() == 2 && begins != inside,
            (false, true) => is_body,
            (false, false) => !line.contains(BEGIN),
        };
        inside = begins || inside && !ends;
        tidy
    })
}
