//! The rules of the schema that are used more than once or are too long for the place of their field.
//!
//! Each function is the schema of one kind of text: a size, and CEL rules with messages in sentences (the API server's
//! own message for a pattern prints the pattern).

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::api::PLACEHOLDERS;

/// The effective name of the token Secret, as CEL over an object called `$object`.
macro_rules! target_name {
    ($object:literal) => {
        concat!(
            "(has(",
            $object,
            ".spec.target) && has(",
            $object,
            ".spec.target.name) ? ",
            $object,
            ".spec.target.name : ",
            $object,
            ".metadata.name + '-token')"
        )
    };
}

pub(super) const TARGET_NAME_STAYS: &str = concat!(target_name!("self"), " == ", target_name!("oldSelf"));

pub(super) const TARGET_IS_NOT_THE_CREDENTIAL: &str = concat!(
    "!(has(self.spec.auth.clientSecret) && self.spec.auth.clientSecret.secretRef.name == ",
    target_name!("self"),
    ") && !(has(self.spec.auth.privateKeyJwt) && self.spec.auth.privateKeyJwt.secretRef.name == ",
    target_name!("self"),
    ") && !(has(self.spec.auth.apiKey) && self.spec.auth.apiKey.secretRef.name == ",
    target_name!("self"),
    ")"
);

pub(super) const AUTH_METHOD_STAYS: &str = "(has(self.spec.authMethod) ? self.spec.authMethod : 'ClientSecret') == (has(oldSelf.spec.authMethod) ? oldSelf.spec.authMethod : 'ClientSecret')";

/// The effective name of a credential's Secret, as CEL over an object called `$object`.
macro_rules! credential_secret_name {
    ($object:literal) => {
        concat!(
            "(has(",
            $object,
            ".spec.secret) && has(",
            $object,
            ".spec.secret.name) ? ",
            $object,
            ".spec.secret.name : ",
            $object,
            ".metadata.name + '-oauth')"
        )
    };
}

pub(super) const CREDENTIAL_SECRET_STAYS: &str =
    concat!(credential_secret_name!("self"), " == ", credential_secret_name!("oldSelf"));

pub(super) const ADOPTION_STAYS: &str = "has(self.spec.adopt) == has(oldSelf.spec.adopt) && (!has(self.spec.adopt) || self.spec.adopt.clientId == oldSelf.spec.adopt.clientId)";

const PORT: &str = "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?";
const OCTET: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";

fn text(max_length: u32, rules: &[(String, &str)]) -> Schema {
    let rules: Vec<Value> = rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect();
    let mut schema = json_schema!({ "type": "string", "maxLength": max_length });
    if !rules.is_empty() {
        schema.insert("x-kubernetes-validations".into(), rules.into());
    }
    schema
}

/// A map whose values are such texts. Rules on a value are part of the value's schema: with a look-up by key in the map, the
/// API server estimates too high a cost.
fn map(values: &Schema, rules: &[(&str, &str)]) -> Schema {
    let rules: Vec<Value> = rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect();
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": values,
        "x-kubernetes-validations": rules,
    })
}

const NOT_OURS: &str = "self.all(k, !k.startsWith('qlikcontext.dev/') && k != 'app.kubernetes.io/managed-by')";
const QUALIFIED_NAMES: &str = "self.all(k, !format.qualifiedName().validate(k).hasValue())";

/// `target.labels`.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    let value = "self.matches('^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$')";
    map(
        &text(63, &[(value.into(), "must be a valid Kubernetes label value: letters, digits, '-', '_' and '.'")]),
        &[
            (
                NOT_OURS,
                "target.labels must not set qlikcontext.dev/* or app.kubernetes.io/managed-by: they belong to the operator",
            ),
            (QUALIFIED_NAMES, "each key of target.labels must be a valid Kubernetes label name"),
        ],
    )
}

/// `target.annotations`.
pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    map(
        &text(4096, &[]),
        &[
            (
                NOT_OURS,
                "target.annotations must not set qlikcontext.dev/* or app.kubernetes.io/managed-by: they belong to the operator",
            ),
            (QUALIFIED_NAMES, "each key of target.annotations must be a valid Kubernetes annotation name"),
        ],
    )
}

/// `target.data`; the rule on a value is the grammar of [`crate::secret::template`], and `(?s)` lets it have lines.
pub(super) fn data(_: &mut SchemaGenerator) -> Schema {
    let names = PLACEHOLDERS.join("|");
    let template = format!("self.matches('(?s)^([^$]|[$][$]|[$][^$(]|[$][(]({names})[)])*[$]?$')");
    let known = PLACEHOLDERS.map(|name| format!("$({name})")).join(" ");
    let message = format!("knows only the placeholders {known}; write $$( for a literal $(");
    map(
        &text(8192, &[(template, &message)]),
        &[
            ("self.size() > 0", "target.data must hold at least one key; leave it out to get the default keys"),
            (
                "self.all(k, k.matches('^[-._a-zA-Z0-9]{1,253}$') && k != '.' && !k.startsWith('..'))",
                "each key of target.data must be a valid key of a Secret: letters, digits, '-', '_' and '.'",
            ),
            ("!('token' in self)", "the key token always holds the token; give yours another name"),
        ],
    )
}

/// Name of a Secret: an RFC 1123 subdomain.
pub(super) fn secret_name(_: &mut SchemaGenerator) -> Schema {
    let pattern = "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')";
    text(253, &[(pattern.into(), "must be the name of a Secret: lower case letters, digits, '-' and '.'")])
}

/// Key of a Secret's data.
pub(super) fn data_key(_: &mut SchemaGenerator) -> Schema {
    text(
        253,
        &[("self.matches('^[-._a-zA-Z0-9]+$')".into(), "must be a key of a Secret: letters, digits, '-', '_' and '.'")],
    )
}

/// Name of a QlikContext.
pub(super) fn context_name(_: &mut SchemaGenerator) -> Schema {
    let pattern = "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$')";
    text(63, &[(pattern.into(), "must be the name of a QlikContext: lower case letters, digits, '-' and '.'")])
}

/// Name of an OAuth client as Qlik shows it.
pub(super) fn client_name(_: &mut SchemaGenerator) -> Schema {
    let rule = r"self.matches('^[^\\s]([^\\n\\r\\t]*[^\\s])?$')";
    text(128, &[(rule.into(), "must be a name on one line, without whitespace at either end")])
}

/// Description of an OAuth client; the mark is the operator's.
pub(super) fn client_description(_: &mut SchemaGenerator) -> Schema {
    text(
        512,
        &[(
            "!self.contains('[qlikcontext.dev')".into(),
            "must not contain [qlikcontext.dev: the operator marks its OAuth clients with it",
        )],
    )
}

/// Id of an OAuth client that exists.
pub(super) fn adopted_id(_: &mut SchemaGenerator) -> Schema {
    // It becomes part of a path at the tenant.
    text(
        256,
        &[(
            "self.matches('^[A-Za-z0-9_-]+$')".into(),
            "must be the id of an OAuth client: letters, digits, '-' and '_'",
        )],
    )
}

/// Id of an OAuth client or of a key: printable, without whitespace.
pub(super) fn oauth_id(_: &mut SchemaGenerator) -> Schema {
    text(256, &[("self.matches('^[!-~]+$')".into(), "must be the id alone, without whitespace")])
}

/// `https://host[:port][/]`. Each rule applies only when those before it hold, so that one mistake gives one message.
pub(super) fn tenant_url(_: &mut SchemaGenerator) -> Schema {
    let https = "self.startsWith('https://')";
    let plain = "self.matches('^https://[][a-z0-9.:/-]*$')";
    let bare = "self.matches('^https://[^/]*/?$')";
    let host = format!("self.matches('^https://({LABEL}([.]{LABEL})*|[[][0-9a-f:.]+[]]){PORT}/?$')");
    // Only a dotted quad may end in a number: any other host that does is an address in another notation.
    let numeric = "self.matches('^https://([^/:]*[.])?(0x[0-9a-f]*|[0-9]+)(:[0-9]*)?/?$')";
    let quad = format!("self.matches('^https://({OCTET}[.]){{3}}{OCTET}(:[0-9]*)?/?$')");
    let example = "for example https://acme.eu.qlikcloud.com";
    let sentences = [
        format!("must start with https://, {example}"),
        format!("must hold only a host name in lower case: no user name, no query, no whitespace, {example}"),
        format!("must end after the host name, without a path, {example}"),
        format!("must be a host name and at most a port from 1 to 65535, {example}"),
        "with an IPv4 address must be written as four decimal numbers, for example https://192.0.2.1".into(),
    ];
    text(
        267,
        &[
            (https.into(), &sentences[0]),
            (format!("!{https} || {plain}"), &sentences[1]),
            (format!("!{plain} || {bare}"), &sentences[2]),
            (format!("!{plain} || !{bare} || {host}"), &sentences[3]),
            (format!("!{numeric} || {quad}"), &sentences[4]),
        ],
    )
}
