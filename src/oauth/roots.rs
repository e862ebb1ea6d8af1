//! Additional CA certificates: a PEM file in which every certificate is usable, or one that is refused with one line.
//!
//! If only a part of a file were used, the mistake would only show later, as a tenant that cannot be reached.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Why a file has no usable CA certificates; continues a sentence that begins with its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRoots {
    /// A byte order mark hides the first certificate from other readers.
    #[error("begins with a byte order mark; save it as plain UTF-8 or ASCII")]
    ByteOrderMark,
    /// DER, PKCS#12 and other binary files.
    #[error("is not PEM; convert it, for example with: openssl x509 -inform DER -in ca.der -out ca.pem")]
    Binary,
    /// `TRUSTED CERTIFICATE`.
    #[error(
        "has a certificate in OpenSSL's own format (BEGIN TRUSTED CERTIFICATE); convert it with: openssl x509 -in old.pem -out ca.pem"
    )]
    Trusted,
    /// `PKCS7`, `CMS`.
    #[error(
        "has a PKCS#7 bundle; take the certificates out with: openssl pkcs7 -print_certs -in bundle.p7b -out ca.pem"
    )]
    Bundle,
    /// Only other blocks: keys, requests.
    #[error("has no certificate (BEGIN CERTIFICATE), only blocks of another kind, such as a key")]
    OtherBlocks,
    /// Nothing that looks like PEM.
    #[error("has no PEM certificate (BEGIN CERTIFICATE)")]
    Empty,
    /// A block that is incomplete or has no certificate in it.
    #[error("has a certificate that is damaged or cut off, number {0}; copy the file again")]
    Damaged(usize),
}

/// The certificates of a PEM file: at least one, and each of them usable.
pub fn read(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadRoots> {
    if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| pem.starts_with(mark)) {
        return Err(BadRoots::ByteOrderMark);
    }
    let text = String::from_utf8_lossy(pem);
    let labels: Vec<_> = text.split("-----BEGIN ").skip(1).filter_map(|rest| rest.split_once("-----")).collect();
    let has = |wanted: &[&str]| labels.iter().any(|(label, _)| wanted.contains(label));
    if has(&["TRUSTED CERTIFICATE"]) {
        return Err(BadRoots::Trusted);
    }
    if has(&["PKCS7", "CMS", "PKCS #7 SIGNED DATA"]) {
        return Err(BadRoots::Bundle);
    }
    let mut certificates = Vec::new();
    let mut store = RootCertStore::empty();
    for (at, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let certificate = certificate.map_err(|_| BadRoots::Damaged(at + 1))?;
        store.add(certificate.clone()).map_err(|_| BadRoots::Damaged(at + 1))?;
        certificates.push(certificate);
    }
    // As many as the file has: the PEM parser skips a block whose first line is indented or damaged.
    let written = text.matches("BEGIN CERTIFICATE-").count();
    match (certificates.len(), written) {
        (0, 0) if !labels.is_empty() => Err(BadRoots::OtherBlocks),
        (0, 0) if std::str::from_utf8(pem).is_err() => Err(BadRoots::Binary),
        (0, 0) => Err(BadRoots::Empty),
        (read, written) if read < written => Err(BadRoots::Damaged(read + 1)),
        _ => Ok(certificates),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = include_str!("../../tests/keys/certificate.pem");

    #[test]
    fn a_file_is_read_when_every_certificate_in_it_is_usable() {
        for (text, count) in [
            (CERTIFICATE.to_owned(), 1),
            (format!("{CERTIFICATE}\n{CERTIFICATE}"), 2),
            (format!("# issued by us\nSubject: CN = x\n{CERTIFICATE}"), 1),
            (CERTIFICATE.replace('\n', "\r\n"), 1),
            (format!("{CERTIFICATE}{}", include_str!("../../tests/keys/rsa-public.pem")), 1),
        ] {
            assert_eq!(read(text.as_bytes()).map(|all| all.len()), Ok(count), "{text}");
        }
    }

    #[test]
    fn a_file_without_a_usable_certificate_is_refused_with_what_it_is() {
        let relabelled = |label: &str| CERTIFICATE.replace("CERTIFICATE", label);
        let half: String = CERTIFICATE.lines().take(3).collect::<Vec<_>>().join("\n");
        for (text, problem) in [
            (format!("\u{feff}{CERTIFICATE}"), BadRoots::ByteOrderMark),
            (format!("\u{feff}{CERTIFICATE}{CERTIFICATE}"), BadRoots::ByteOrderMark),
            (relabelled("TRUSTED CERTIFICATE"), BadRoots::Trusted),
            (format!("{CERTIFICATE}{}", relabelled("TRUSTED CERTIFICATE")), BadRoots::Trusted),
            (relabelled("PKCS7"), BadRoots::Bundle),
            (relabelled("CMS"), BadRoots::Bundle),
            (include_str!("../../tests/keys/rsa-public.pem").to_owned(), BadRoots::OtherBlocks),
            (include_str!("../../tests/keys/p384-pkcs8.pem").to_owned(), BadRoots::OtherBlocks),
            (relabelled("CERTIFICATE REQUEST"), BadRoots::OtherBlocks),
            (String::new(), BadRoots::Empty),
            ("not a certificate".to_owned(), BadRoots::Empty),
            (half.clone(), BadRoots::Damaged(1)),
            (format!("{CERTIFICATE}{half}"), BadRoots::Damaged(2)),
            (CERTIFICATE.replace("-----BEGIN", "  -----BEGIN"), BadRoots::Damaged(1)),
            (CERTIFICATE.replace("MII", "AAA"), BadRoots::Damaged(1)),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), BadRoots::Damaged(1)),
        ] {
            assert_eq!(read(text.as_bytes()), Err(problem), "{text}");
            assert!(!problem.to_string().contains('\n'));
        }
        assert_eq!(read(b"\x30\x82\x01\xff\xfe"), Err(BadRoots::Binary));
        let wide: Vec<u8> =
            [0xff, 0xfe].into_iter().chain(CERTIFICATE.encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(read(&wide), Err(BadRoots::ByteOrderMark));
    }
}
