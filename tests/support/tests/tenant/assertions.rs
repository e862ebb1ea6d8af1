//! Private Key JWT.

use anyhow::{Result, anyhow};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::time::SystemTime;
use support::tenant::{Algorithm, AuthMethod, Client, PublicKey, Refusal, Tenant};

use super::caller::{ID, SECRET, post};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair, Algorithm),
}

impl Key {
    fn ec() -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING);
        Ok(Self::Ec(pair.map_err(|_| anyhow!("no key"))?))
    }

    fn rsa(algorithm: Algorithm) -> Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| anyhow!("no key"))?;
        Ok(Self::Rsa(pair, algorithm))
    }

    fn public(&self, kid: &str) -> Result<PublicKey> {
        let (der, algorithm) = match self {
            Self::Ec(pair) => (AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()), Algorithm::ES384),
            Self::Rsa(pair, algorithm) => (pair.public_key().as_der(), *algorithm),
        };
        let der = der.map_err(|_| anyhow!("no public key"))?;
        let base64 = STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
        Ok(PublicKey::new(kid, algorithm, &pem))
    }

    fn sign(&self, header: &Value, claims: &Value) -> Result<String> {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ec(pair) => pair.sign(&random, signed.as_bytes()).map(|signature| signature.as_ref().to_vec()),
            Self::Rsa(pair, algorithm) => {
                let padding = if *algorithm == Algorithm::RS512 { &RSA_PKCS1_SHA512 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, signed.as_bytes(), &mut signature).map(|()| signature)
            }
        };
        let signature = signature.map_err(|_| anyhow!("no signature"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs())
}

fn claims(tenant: &Tenant, jti: &str) -> Result<Value> {
    let (now, aud) = (now()?, format!("{}/oauth/token", tenant.url()));
    Ok(json!({"iss": ID, "sub": ID, "aud": aud, "jti": jti, "iat": now, "exp": now + 60}))
}

async fn ask(tenant: &Tenant, assertion: &str) -> Result<u16> {
    let request = json!({
        "grant_type": "client_credentials",
        "client_id": ID,
        "client_assertion_type": TYPE,
        "client_assertion": assertion,
    });
    Ok(post(tenant, "/oauth/token", &request).await?.status().as_u16())
}

#[tokio::test]
async fn each_algorithm_authenticates_a_client() -> Result<()> {
    let tenant = Tenant::start().await?;
    for (key, alg) in
        [(Key::ec()?, "ES384"), (Key::rsa(Algorithm::RS256)?, "RS256"), (Key::rsa(Algorithm::RS512)?, "RS512")]
    {
        let mut client = Client::new(ID).key(key.public("k1")?);
        client.auth_methods = vec![AuthMethod::PrivateKeyJwt];
        tenant.add_client(client);
        for (header, jti) in [(json!({"alg": alg, "kid": "k1"}), "a"), (json!({"alg": alg, "typ": "JWT"}), "b")] {
            let jti = format!("{alg}-{jti}");
            assert_eq!(ask(&tenant, &key.sign(&header, &claims(&tenant, &jti)?)?).await?, 200, "{header}");
        }
    }
    let by_secret = json!({"grant_type": "client_credentials", "client_id": ID, "client_secret": SECRET});
    assert_eq!(post(&tenant, "/oauth/token", &by_secret).await?.status(), 401);
    assert_eq!(tenant.cloud().ledger(|ledger| ledger.refused(Refusal::MethodNotAllowed)), 1);
    Ok(())
}

#[tokio::test]
async fn several_keys_work_during_a_rotation() -> Result<()> {
    let tenant = Tenant::start().await?;
    let (old, new) = (Key::ec()?, Key::ec()?);
    tenant.add_client(Client::new(ID).key(old.public("old")?).key(new.public("new")?));
    for (key, kid, status) in [(&old, "old", 200), (&new, "new", 200), (&old, "new", 401), (&new, "gone", 401)] {
        let assertion = key.sign(&json!({"alg": "ES384", "kid": kid}), &claims(&tenant, &format!("{kid}{status}"))?)?;
        assert_eq!(ask(&tenant, &assertion).await?, status, "{kid}");
    }
    Ok(())
}

#[tokio::test]
async fn an_invalid_assertion_is_rejected() -> Result<()> {
    let tenant = Tenant::start().await?;
    let key = Key::ec()?;
    tenant.add_client(Client::new(ID).secret(SECRET).key(key.public("k1")?));
    let header = json!({"alg": "ES384", "kid": "k1"});
    let now = now()?;
    for (name, value) in [
        ("iss", json!("someone")),
        ("sub", json!("someone")),
        ("aud", json!(format!("{}/oauth/token/", tenant.url()))),
        ("aud", json!([format!("{}/oauth/token", tenant.url())])),
        ("aud", json!("https://acme.eu.qlikcloud.com/oauth/token")),
        ("jti", json!("")),
        ("jti", Value::Null),
        ("exp", json!(now + 301)),
        ("exp", json!(now)),
        ("iat", json!(now + 100)),
        ("iat", json!(null)),
        ("exp", json!(format!("{}", now + 60))),
    ] {
        let mut claims = claims(&tenant, "never used")?;
        claims["iat"] = json!(now);
        claims[name] = value.clone();
        assert_eq!(ask(&tenant, &key.sign(&header, &claims)?).await?, 401, "{name}: {value}");
    }
    for header in [json!({"alg": "RS256"}), json!({"alg": "none"}), json!({"alg": "HS256"}), json!({})] {
        assert_eq!(ask(&tenant, &key.sign(&header, &claims(&tenant, "x")?)?).await?, 401, "{header}");
    }
    let stranger = Key::ec()?.sign(&header, &claims(&tenant, "x")?)?;
    assert_eq!(ask(&tenant, &stranger).await?, 401);
    assert_eq!(ask(&tenant, "not.a.jwt.at.all").await?, 401);
    let good = key.sign(&header, &claims(&tenant, "once")?)?;
    assert_eq!(ask(&tenant, &good).await?, 200);
    assert_eq!(ask(&tenant, &good).await?, 401, "a jti is accepted only once");
    let mut both = json!({"grant_type": "client_credentials", "client_id": ID, "client_secret": SECRET});
    both["client_assertion"] = json!(good);
    both["client_assertion_type"] = json!(TYPE);
    assert_eq!(post(&tenant, "/oauth/token", &both).await?.status(), 400);
    Ok(())
}
