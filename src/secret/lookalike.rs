//! Guesses the form of a value that a tenant refused: a placeholder, a reference, or an encoding of the value.
//!
//! The guess is only made for a value that did not work, and only used in a message. It names the form and never repeats any
//! part of the value. It never decides whether a value is sent: a real secret may look like any of these.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Base64 with or without its padding.
const FORGIVING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, FORGIVING);
/// Fewer decoded characters may be printable by chance.
const ENOUGH: usize = 10;

/// A form that a credential may have by mistake.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lookalike {
    /// `ENC[AES256_GCM,…]`, `AGE…`, `vault:v1:…`: ciphertext.
    #[error("is still encrypted, as by SOPS, Sealed Secrets, Ansible or Vault; decrypt it before it is applied")]
    Encrypted,
    /// `vault:secret/…#key`, `op://…`, `arn:aws:…`: the address of the value in a secret store.
    #[error("is a reference to a secret store; the Secret needs the value itself, as External Secrets would write it")]
    Reference,
    /// `${X}`, `{{ x }}`, `<x>`, `REPLACE-WITH-…`.
    #[error("is a placeholder that was never filled in; write the value in its place")]
    Placeholder,
    /// What programs print for a missing value.
    #[error("is what a program prints when it found no value; look at where it comes from")]
    Nothing,
    /// Stars, dots, `(sensitive value)`.
    #[error("is masked, as a web page or a log shows a secret; copy it from a place where it can be revealed")]
    Masked,
    /// Quotes at both ends.
    #[error("has quotation marks around it; write it without them")]
    Quoted,
    /// Base64 of the value.
    #[error("is base64-encoded once more; write it plainly under stringData, or encode it once under data")]
    Base64,
    /// `%2B`, `\u0026`, `&amp;`, `\n`.
    #[error("has escape sequences, as in a URL, JSON, HTML or a shell; write it as the tenant showed it")]
    Escaped,
    /// `{"clientSecret": …}`.
    #[error("is a JSON document; write the value alone, each under a key of its own")]
    Json,
    /// `CLIENT_SECRET=…`.
    #[error("has its name in front of it, as in an environment file; write the value alone")]
    Named,
    /// `/run/secrets/x`, `@x`, `file://…`.
    #[error("is the path of a file; write the file's content, as kubectl's --from-file does")]
    Path,
    /// `https://…`.
    #[error("is a URL; write the value itself")]
    Url,
    /// `Bearer …`.
    #[error("begins with the name of an authorization scheme, such as Bearer; write what follows it alone")]
    Scheme,
    /// `eyJ….….…`, where an id or secret belongs.
    #[error("is a token or an API key, which goes under auth.apiKey")]
    Token,
    /// `-----BEGIN …`.
    #[error("is a key or certificate in PEM; a private key goes under auth.privateKeyJwt")]
    Pem,
}

/// Prefixes of ciphertext.
const CIPHERTEXT: [&str; 10] = [
    "enc[",
    "$ansible_vault",
    "vault:v1:",
    "{cipher}",
    "age-encryption.org",
    "-----begin age encrypted",
    "-----begin pgp message",
    "k8s:enc:",
    "!vault",
    "encrypted:",
];
/// Prefixes of references to secret stores (bank-vaults, vals, 1Password, AWS, GCP, Azure, Argo CD, Doppler, Akeyless, Conjur).
const REFERENCES: [&str; 18] = [
    "vault:",
    "ref+",
    "secretref+",
    "op://",
    "arn:aws",
    "aws:",
    "awssm:",
    "projects/",
    "gcp:secretmanager",
    "gcpsm:",
    "sm://",
    "@microsoft.keyvault",
    "azurekeyvault",
    "azkv://",
    "<path:",
    "akeyless:",
    "conjur:",
    "secretmanager:",
];
/// Whole texts that stand for a value that was not filled in.
const UNFILLED: [&str; 16] = [
    "changeme",
    "change-me",
    "change_me",
    "todo",
    "tbd",
    "fixme",
    "placeholder",
    "example",
    "secret",
    "password",
    "client-secret",
    "client-id",
    "client_secret",
    "client_id",
    "clientsecret",
    "clientid",
];
/// Prefixes of such texts, as in this project's examples and in many READMEs.
const UNFILLED_BEGINNINGS: [&str; 9] =
    ["replace-with", "replace_with", "replaceme", "replace_me", "replace-me", "your-", "your_", "insert", "my-client-"];
const NOTHING: [&str; 12] = [
    "null",
    "nil",
    "none",
    "undefined",
    "nan",
    "~",
    "<nil>",
    "<none>",
    "<no value>",
    "%!s(<nil>)",
    "[object object]",
    "map[]",
];
const MASKED: [&str; 6] = ["(sensitive value)", "(sensitive)", "<sensitive>", "redacted", "[redacted]", "<redacted>"];
const SCHEMES: [&str; 4] = ["bearer ", "basic ", "token ", "apikey "];

impl Lookalike {
    /// The first form that matches, the most certain first.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        let begins = |all: &[&str]| all.iter().any(|beginning| lower.starts_with(beginning));
        let is = |all: &[&str]| all.contains(&lower.as_str());
        if text.is_empty() {
            None
        } else if begins(&CIPHERTEXT) || is_sealed(text) {
            Some(Self::Encrypted)
        } else if begins(&REFERENCES) {
            Some(Self::Reference)
        } else if is(&NOTHING) {
            Some(Self::Nothing)
        } else if is(&MASKED) || is_masked(text) {
            Some(Self::Masked)
        } else if is(&UNFILLED) || begins(&UNFILLED_BEGINNINGS) || is_placeholder(text) {
            Some(Self::Placeholder)
        } else if begins(&SCHEMES) {
            Some(Self::Scheme)
        } else if text.starts_with("-----BEGIN") {
            Some(Self::Pem)
        } else if is_quoted(text) {
            Some(Self::Quoted)
        } else if text.starts_with('{') && text.ends_with('}') {
            Some(Self::Json)
        } else if is_named(&lower) {
            Some(Self::Named)
        } else if begins(&["http://", "https://"]) {
            Some(Self::Url)
        } else if is_path(text) {
            Some(Self::Path)
        } else if is_base64_of_text(text) {
            Some(Self::Base64)
        } else if is_escaped(text) {
            Some(Self::Escaped)
        } else if is_token(text) {
            Some(Self::Token)
        } else {
            None
        }
    }
}

/// Sealed Secrets: a length of two bytes (a wrapped key of 512), then base64 of at least that many.
fn is_sealed(text: &str) -> bool {
    text.len() > 600
        && text.starts_with("Ag")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

fn is_masked(text: &str) -> bool {
    let masks = |c: char| "*•●·xX".contains(c);
    text.chars().count() >= 3 && (text.chars().all(masks) || text.ends_with('…') || text.ends_with("..."))
        || text.contains("***")
}

/// `${X}`, `$(X)`, `$X`, `{{ x }}`, `<x>`, `%X%`, `[[x]]`, `__X__`, `#{x}#`, `@@x@@`.
fn is_placeholder(text: &str) -> bool {
    let pairs = [
        ("${", "}"),
        ("$(", ")"),
        ("{{", "}}"),
        ("<", ">"),
        ("%", "%"),
        ("[[", "]]"),
        ("__", "__"),
        ("#{", "}"),
        ("#{", "}#"),
        ("@@", "@@"),
    ];
    let variable = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    pairs.iter().any(|(open, close)| {
        let inside = text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        inside.is_some_and(|inside| !inside.is_empty())
    }) || text.strip_prefix('$').is_some_and(variable)
        || text.starts_with("${") && text.contains(":-")
}

fn is_quoted(text: &str) -> bool {
    let pairs = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('„', '“'), ('«', '»')];
    let escaped = text.starts_with("\\\"") && text.ends_with("\\\"");
    escaped
        || pairs
            .iter()
            .any(|(open, close)| text.chars().count() > 1 && text.starts_with(*open) && text.ends_with(*close))
}

fn is_named(lower: &str) -> bool {
    let names = ["client", "secret", "qlik", "export ", "set ", "oauth", "api", "key", "password", "token"];
    let end = lower.find(['=', ':']).unwrap_or_default();
    let (name, value) = lower.split_at(end);
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_- .".contains(&byte));
    end > 0 && value.len() > 2 && is_name(name) && names.iter().any(|known| name.contains(known))
}

fn is_path(text: &str) -> bool {
    let drive = text.as_bytes().get(1..3) == Some(&b":\\"[..]);
    let known =
        ["/", "./", "../", "~/", "file:", "@/", "@./", "\\\\"].iter().any(|beginning| text.starts_with(beginning));
    let file = [".txt", ".pem", ".key", ".json", ".env", ".yaml", ".yml"].iter().any(|ending| text.ends_with(ending));
    drive || file || known && text[1..].contains('/')
}

/// (64 hexadecimal digits are base64 as well, but do not decode to printable text.)
fn is_base64_of_text(text: &str) -> bool {
    let decoded = STANDARD.decode(text).map(Zeroizing::new);
    decoded.is_ok_and(|bytes| {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        bytes.len() >= ENOUGH && bytes.iter().all(u8::is_ascii_graphic)
    })
}

fn is_escaped(text: &str) -> bool {
    let hex = |rest: &str, digits| {
        rest.as_bytes().get(..digits).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let follows = |mark: &str, digits| text.split(mark).skip(1).any(|rest| hex(rest, digits));
    let html = ["&amp;", "&lt;", "&gt;", "&quot;", "&#"].iter().any(|entity| text.contains(entity));
    html || follows("%", 2)
        || follows("\\u", 4)
        || follows("\\x", 2)
        || ["\\n", "\\r", "\\t"].iter().any(|ending| text.ends_with(ending))
}

/// Three parts of base64url, the first of them a JSON object.
fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_never_filled_in_is_recognised() {
        use Lookalike::*;
        let sealed = format!("AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq{}", "Q2xhdWRl".repeat(80));
        for (text, expected) in [
            ("ENC[AES256_GCM,data:p673w==,iv:YY=,aad:UQ=,tag:A=,type:str]", Encrypted),
            ("vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==", Encrypted),
            ("$ANSIBLE_VAULT;1.1;AES256", Encrypted),
            ("-----BEGIN AGE ENCRYPTED FILE-----", Encrypted),
            (&sealed, Encrypted),
            ("vault:secret/data/qlik#client-secret", Reference),
            ("ref+vault://secret/qlik#/secret", Reference),
            ("op://vault/qlik/secret", Reference),
            ("arn:aws:secretsmanager:eu-west-1:1:secret:qlik", Reference),
            ("@Microsoft.KeyVault(SecretUri=https://x.vault.azure.net/secrets/y)", Reference),
            ("<path:secret/data/qlik#client-secret>", Reference),
            ("${CLIENT_SECRET}", Placeholder),
            ("${CLIENT_SECRET:-default}", Placeholder),
            ("$(CLIENT_SECRET)", Placeholder),
            ("$CLIENT_SECRET", Placeholder),
            ("%CLIENT_SECRET%", Placeholder),
            ("{{ .Values.clientSecret }}", Placeholder),
            ("{{clientSecret}}", Placeholder),
            ("<my-client-secret>", Placeholder),
            ("__CLIENT_SECRET__", Placeholder),
            ("#{ClientSecret}#", Placeholder),
            ("REPLACE-WITH-THE-CLIENT-SECRET", Placeholder),
            ("your-client-secret", Placeholder),
            ("changeme", Placeholder),
            ("null", Nothing),
            ("undefined", Nothing),
            ("<no value>", Nothing),
            ("%!s(<nil>)", Nothing),
            ("********", Masked),
            ("••••••••", Masked),
            ("xxxxxxxx", Masked),
            ("(sensitive value)", Masked),
            ("0f3c5d9e…", Masked),
            ("0f3c5d9e...", Masked),
            ("\"0f3c5d9e\"", Quoted),
            ("'0f3c5d9e'", Quoted),
            ("“0f3c5d9e”", Quoted),
            ("\\\"0f3c5d9e\\\"", Quoted),
            ("c2VjcmV0LW9mLWEtY2xpZW50", Base64),
            ("c2VjcmV0LW9mLWEtY2xpZW50Cg==", Base64),
            ("c2VjcmV0LW9mLWEtY2xpZW50Cg", Base64),
            ("s3cr%2Bt%3D", Escaped),
            ("s3cr\\u0026t", Escaped),
            ("s3cr&amp;t", Escaped),
            ("s3cret\\n", Escaped),
            (r#"{"clientSecret":"0f3c5d9e"}"#, Json),
            ("CLIENT_SECRET=0f3c5d9e", Named),
            ("client-secret: 0f3c5d9e", Named),
            ("export QLIK_SECRET=0f3c5d9e", Named),
            ("/run/secrets/client-secret", Path),
            ("./client-secret.txt", Path),
            ("client-secret.txt", Path),
            (r"C:\secrets\qlik", Path),
            ("file:///run/secrets/qlik", Path),
            ("https://acme.eu.qlikcloud.com", Url),
            ("Bearer eyJhbGciOiJFUzM4NCJ9.e30.c2ln", Scheme),
            ("eyJhbGciOiJFUzM4NCJ9.e30.c2ln", Token),
            ("-----BEGIN PRIVATE KEY-----", Pem),
        ] {
            assert_eq!(Lookalike::of(text), Some(expected), "{text}");
            let sentence = expected.to_string();
            assert!(sentence.len() < 120 && sentence.is_ascii() && !sentence.contains("0f3c5d9e"), "{sentence}");
        }
    }

    #[test]
    fn what_a_tenant_issues_is_not_called_a_mistake() {
        for text in [
            "82e0c1a9f2b94f6e9a3d5c7b1e0f4a68",
            "0f3c5d9e8b7a6f5e4d3c2b1a09f8e7d6c5b4a3928170695847362514f0e1d2c3",
            "planted-client-secret-0123456789abcdef",
            "s3cr&t=+/ü",
            "",
            "63ea6e1b",
            "a$b{c}d",
        ] {
            assert_eq!(Lookalike::of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn hexadecimal_ids_and_secrets_never_look_like_a_mistake(text in "[0-9a-f]{32}([0-9a-f]{32})?") {
            prop_assert_eq!(Lookalike::of(&text), None);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = Lookalike::of(&text);
        }
    }
}
