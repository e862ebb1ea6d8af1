//! The certificate authority of the fake, and the certificates of its server.
//!
//! A certificate is issued when a client first connects with its name, so every tenant has its own. A
//! client without SNI gets the one for the address. The invalid certificates are for tests of
//! handshake failures.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use serde::{Deserialize, Serialize};

/// The TLS handshake that a client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Handshake {
    /// A valid certificate.
    #[default]
    Valid,
    /// A certificate that expired years ago.
    Expired,
    /// A certificate for another name.
    WrongName,
    /// A certificate of an unknown authority.
    UnknownAuthority,
    /// Bytes that are not TLS.
    Garbage,
    /// The connection is accepted and reset.
    Hangup,
    /// The connection is accepted, and nothing is sent.
    Silent,
}

/// Issues certificates on demand.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    stranger: CertifiedIssuer<'static, KeyPair>,
    leaf: KeyPair,
    signer: Arc<dyn SigningKey>,
    address: IpAddr,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    now: Handshake,
    made: HashMap<(Handshake, Option<String>), Arc<CertifiedKey>>,
}

impl Authority {
    /// An authority whose server listens on this address.
    pub(super) fn new(address: IpAddr) -> Result<Arc<Self>> {
        let leaf = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(leaf.serialize_der().into());
        Ok(Arc::new(Self {
            issuer: root("Fake Qlik Cloud CA")?,
            stranger: root("Some other CA")?,
            signer: sign::any_supported_type(&der)?,
            leaf,
            address,
            shown: Mutex::default(),
        }))
    }

    /// The CA certificate, which a client has to trust.
    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Sets the handshake for the next clients.
    pub(super) fn handshake(&self) -> Handshake {
        self.shown().now
    }

    pub(super) fn show(&self, handshake: Handshake) {
        self.shown().now = handshake;
    }

    /// Server configuration: HTTP/1.1 and no session resumption, so that each connection has a full
    /// handshake.
    pub(super) fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    fn issue(&self, handshake: Handshake, name: Option<&str>) -> Result<CertifiedKey> {
        let names = match (handshake, name) {
            (Handshake::WrongName, _) => vec!["somebody.else.example".to_owned()],
            (_, Some(name)) => vec![name.to_owned()],
            (_, None) => vec!["localhost".to_owned()],
        };
        let mut params = CertificateParams::new(names)?;
        if name.is_none() && handshake != Handshake::WrongName {
            let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
            params.subject_alt_names.extend([self.address, here].map(SanType::IpAddress));
        }
        params.distinguished_name.push(DnType::CommonName, "Fake Qlik Cloud tenant");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = match handshake {
            Handshake::Expired => date_time_ymd(2021, 1, 1),
            _ => date_time_ymd(2120, 1, 1),
        };
        let issuer = match handshake {
            Handshake::UnknownAuthority => &self.stranger,
            _ => &self.issuer,
        };
        let certificate = params.signed_by(&self.leaf, issuer)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], Arc::clone(&self.signer)))
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name();
        let mut shown = self.shown();
        let key = (shown.now, name.map(str::to_owned));
        if let Some(made) = shown.made.get(&key) {
            return Some(Arc::clone(made));
        }
        let made = Arc::new(self.issue(key.0, name).ok()?);
        shown.made.insert(key, Arc::clone(&made));
        Some(made)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("address", &self.address).finish_non_exhaustive()
    }
}

fn root(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}
