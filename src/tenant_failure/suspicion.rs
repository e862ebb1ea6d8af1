//! What looks wrong with a credential that was refused, as a sentence.
//!
//! A guess, of use only once the tenant has said no. It never repeats any of the credential.

use secrecy::ExposeSecret;

use crate::oauth::request::Credential;
use crate::secret::lookalike::Lookalike;

pub(super) fn suspicion(credential: &Credential) -> Option<String> {
    let parts = match credential {
        Credential::ClientSecret { client_id, client_secret } => {
            if client_id.expose_secret() == client_secret.expose_secret() {
                return Some("The client secret is the client id once more; write the secret there.".to_owned());
            }
            vec![("client id", client_id.expose_secret()), ("client secret", client_secret.expose_secret())]
        }
        Credential::PrivateKey { client_id, .. } => vec![("client id", client_id.expose_secret())],
        Credential::ApiKey(key) => vec![("API key", key.expose_secret())],
    };
    let is_api_key = matches!(credential, Credential::ApiKey(_));
    let form = |value| Lookalike::of(value).filter(|form| !is_api_key || *form != Lookalike::Token);
    let (part, form) = parts.into_iter().find_map(|(part, value)| Some((part, form(value)?)))?;
    Some(format!("It looks as if the {part} {form}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::token::AccessToken;

    #[test]
    fn what_was_refused_is_looked_at_for_what_it_looks_like() {
        for (id, secret, says) in [
            ("id", "ENC[AES256_GCM,data:planted]", Some("the client secret is still encrypted")),
            ("${CLIENT_ID}", "s3cret", Some("the client id is a placeholder")),
            ("id", "\"planted\"", Some("the client secret has quotation marks")),
            ("planted", "planted", Some("The client secret is the client id once more")),
            ("id", "eyJhbGciOiJFUzM4NCJ9.e30.c2ln", Some("goes under auth.apiKey")),
            ("id", "0f3c5d9e8b7a", None),
        ] {
            let suspicion = suspicion(&Credential::ClientSecret { client_id: id.into(), client_secret: secret.into() });
            assert_eq!(suspicion.is_some(), says.is_some(), "{suspicion:?}");
            let suspicion = suspicion.unwrap_or_default();
            assert!(suspicion.contains(says.unwrap_or_default()) && !suspicion.contains("planted"), "{suspicion}");
        }
        let key = |text| Credential::ApiKey(AccessToken::parse(text).unwrap());
        assert_eq!(suspicion(&key("eyJhbGciOiJFUzM4NCJ9.e30.c2ln")), None, "that is what an API key is");
        assert!(suspicion(&key("<api-key>")).unwrap().contains("the API key is a placeholder"));
    }
}
