use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use support::skipped::skipped;

use super::*;

fn text(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_form_of_a_key_signs_what_its_public_key_verifies() {
    let rsa: [(Algorithm, &dyn VerificationAlgorithm); 2] =
        [(Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256), (Algorithm::RS512, &RSA_PKCS1_2048_8192_SHA512)];
    let p384: [(Algorithm, &dyn VerificationAlgorithm); 1] = [(Algorithm::ES384, &ECDSA_P384_SHA384_FIXED)];
    for (name, public, algorithms) in [
        ("rsa-pkcs8.pem", "rsa-public.pem", &rsa[..]),
        ("rsa-pkcs1.pem", "rsa-public.pem", &rsa),
        ("rsa.jwk", "rsa-public.pem", &rsa),
        ("p384-pkcs8.pem", "p384-public.pem", &p384),
        ("p384-sec1.pem", "p384-public.pem", &p384),
        ("p384.jwk", "p384-public.pem", &p384),
    ] {
        let found = read(&text(name)).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert!(!found.repaired, "{name}");
        let public = SubjectPublicKeyInfoDer::from_pem_slice(text(public).as_bytes()).unwrap();
        for (algorithm, verification) in algorithms {
            let signature = found.key.sign(*algorithm, b"message").unwrap();
            let key = UnparsedPublicKey::new(*verification, &public);
            key.verify(b"message", &signature).unwrap_or_else(|_| panic!("{name} {algorithm}"));
        }
        assert_eq!(found.key.algorithm(None), Some(algorithms[0].0));
    }
}

#[test]
fn what_is_no_usable_key_has_a_sentence_of_its_own() {
    for (name, problem) in [
        ("rsa-encrypted.pem", BadKey::Encrypted),
        ("rsa-encrypted-pkcs1.pem", BadKey::Encrypted),
        ("rsa-public.pem", BadKey::Public),
        ("p384-public.jwk", BadKey::Public),
        ("certificate.pem", BadKey::Certificate),
        ("rsa-1024.pem", BadKey::TooSmall),
        ("p256-sec1.pem", BadKey::WrongCurve),
        ("p256-pkcs8.pem", BadKey::WrongCurve),
        ("ed25519.pem", BadKey::WrongCurve),
        ("README.md", BadKey::NotAKey),
    ] {
        assert_eq!(read(&text(name)).err(), Some(problem), "{name}");
    }
    let cut = text("rsa-pkcs8.pem").lines().take(5).collect::<Vec<_>>().join("\n");
    for (text, problem) in [
        (r#"{"kty":"oct","k":"AAAA","d":"AAAA"}"#.to_owned(), BadKey::KeyType),
        (r#"{"kty":"OKP","crv":"Ed25519","d":"AAAA"}"#.to_owned(), BadKey::WrongCurve),
        (r#"{"kty":"EC","crv":"P-256","d":"AAAA"}"#.to_owned(), BadKey::WrongCurve),
        (r#"{"kty":"EC","crv":"P-384","d":"AAAA","x":"AAAA","y":"AAAA"}"#.to_owned(), BadKey::Damaged),
        (text("rsa.jwk").replace("\"qi\"", "\"gone\""), BadKey::NoPrimes),
        ("{".to_owned(), BadKey::NotAKey),
        (cut, BadKey::CutShort),
        (String::new(), BadKey::NotAKey),
    ] {
        assert_eq!(read(&text).err(), Some(problem), "{text}");
    }
}

#[test]
fn an_algorithm_goes_with_its_kind_of_key_alone() {
    let (rsa, ec) = (read(&text("rsa-pkcs8.pem")).unwrap(), read(&text("p384.jwk")).unwrap());
    assert_eq!(rsa.key.algorithm(Some(Algorithm::ES384)), None);
    assert_eq!(ec.key.algorithm(Some(Algorithm::RS256)), None);
    assert_eq!(rsa.key.algorithm(Some(Algorithm::RS512)), Some(Algorithm::RS512));
    assert_eq!(ec.key_id.as_deref(), Some("jwk-ec"));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn no_change_of_a_key_makes_it_panic(at in 0usize..1600, byte in 0u8..128) {
        let mut bytes = text("rsa-pkcs8.pem").into_bytes();
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        let _ = read(&String::from_utf8_lossy(&bytes));
    }
}

/// The label and the bytes of a PEM file.
fn pem(text: &str) -> (String, Vec<u8>) {
    let label = text.lines().next().unwrap().trim_start_matches("-----BEGIN ").trim_end_matches("-----");
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    (label.to_owned(), STANDARD.decode(body).unwrap())
}

fn as_pem(label: &str, bytes: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(bytes))
}

proptest! {
    #[test]
    fn no_bytes_in_place_of_a_key_panic(
        label in "(EC |RSA )?PRIVATE KEY", bytes in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        prop_assert!(read(&as_pem(&label, &bytes)).is_err());
    }

    #[test]
    fn what_is_still_accepted_with_another_byte_inside_still_signs(
        name in prop::sample::select(vec!["rsa-pkcs8.pem", "rsa-pkcs1.pem", "p384-pkcs8.pem", "p384-sec1.pem"]),
        at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let (label, mut der) = pem(&text(name));
        let at = at.index(der.len());
        der[at] = byte;
        if let Ok(found) = read(&as_pem(&label, &der)) {
            let algorithm = found.key.algorithm(None).unwrap();
            prop_assert!(found.key.sign(algorithm, b"message").is_some());
        }
    }

    #[test]
    fn a_jwk_with_any_of_its_texts_changed_signs_or_is_refused(
        name in prop::sample::select(vec!["rsa.jwk", "p384.jwk"]),
        field in any::<prop::sample::Index>(),
        other in "[A-Za-z0-9_-]{0,12}"
    ) {
        let mut jwk: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text(name)).unwrap();
        let field = jwk.keys().nth(field.index(jwk.len())).unwrap().clone();
        jwk.insert(field, other.into());
        if let Ok(found) = read(&serde_json::to_string(&jwk).unwrap()) {
            let algorithm = found.key.algorithm(None).unwrap();
            prop_assert!(found.key.sign(algorithm, b"message").is_some());
        }
    }
}

/// What a key signs for: the bytes of its public key.
fn public(found: &FoundKey) -> Vec<u8> {
    use aws_lc_rs::signature::KeyPair as _;
    match &found.key {
        SigningKey::Rsa(key) => key.public_key().as_ref().to_vec(),
        SigningKey::P384(key) => key.public_key().as_ref().to_vec(),
    }
}

const PEMS: [&str; 4] = ["rsa-pkcs8.pem", "rsa-pkcs1.pem", "p384-pkcs8.pem", "p384-sec1.pem"];

/// As `base64` prints it.
fn in_lines(text: &str) -> String {
    let lines: Vec<_> = text.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\n")
}

/// Writes a number of a JWK.
type Rewrite = fn(&[u8]) -> String;

/// What people's tools make of a text on its way into a Secret.
fn mangled(text: &str) -> Vec<(&'static str, String)> {
    let trimmed = text.trim_end();
    let json = serde_json::to_string(text).unwrap();
    let joined = |separator: &str| trimmed.lines().collect::<Vec<_>>().join(separator);
    let body: String = trimmed.lines().filter(|line| !line.starts_with("-----")).collect();
    vec![
        ("literal \\n", joined("\\n")),
        ("literal \\n at the end, too", joined("\\n") + "\\n"),
        ("literal \\r\\n", joined("\\r\\n")),
        ("doubled backslashes", joined("\\\\n")),
        ("literal \\n before each line break", joined("\\n\n")),
        ("a backslash before each line break", joined("\\\n")),
        ("blanks for line breaks", joined(" ")),
        ("tabs for line breaks", joined("\t")),
        ("carriage returns alone", joined("\r")),
        ("an empty line after each", joined("\n\n")),
        ("indented", format!("    {}\n", joined("\n    "))),
        ("indented but for the first line", joined("\n  ")),
        ("no-break spaces", joined("\u{a0}\n")),
        ("zero-width spaces", joined("\u{200b}\n")),
        ("no whitespace at all", trimmed.chars().filter(|c| !c.is_whitespace()).collect()),
        ("in double quotes", format!("\"{text}\"")),
        ("in single quotes", format!("'{trimmed}'")),
        ("as JSON", json.clone()),
        ("as JSON in JSON", serde_json::to_string(&json).unwrap()),
        ("byte order mark", format!("\u{feff}{text}")),
        ("base64", STANDARD.encode(text)),
        ("base64 in lines", in_lines(&STANDARD.encode(text))),
        ("base64 twice", STANDARD.encode(STANDARD.encode(text))),
        ("base64 of JSON", STANDARD.encode(&json)),
        (
            "on one line of PEM",
            trimmed.replace(
                &joined("\n").lines().filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().join("\n"),
                &body,
            ),
        ),
    ]
}

#[test]
fn a_key_is_read_however_an_environment_or_yaml_changed_it_and_it_is_the_same_key() {
    for name in PEMS {
        let text = text(name);
        let expected = public(&read(&text).unwrap());
        for (how, mangled) in mangled(&text) {
            let found = read(&mangled).unwrap_or_else(|problem| panic!("{name}, {how}: {problem}\n{mangled}"));
            assert_eq!(public(&found), expected, "{name}, {how}");
            assert_eq!(found.repaired, how != "on one line of PEM", "{name}, {how}");
        }
        for text in [
            text.replace('\n', "\r\n"),
            format!("\n\n{text}\n"),
            format!("Bag Attributes\n    localKeyID: 01 00\n{text}"),
        ] {
            assert!(!read(&text).unwrap_or_else(|problem| panic!("{name}: {problem}")).repaired, "{name}");
        }
    }
    for name in ["rsa.jwk", "p384.jwk"] {
        let text = text(name);
        let expected = public(&read(&text).unwrap());
        let json = serde_json::to_string(&text).unwrap();
        for mangled in [
            format!("\u{feff}{text}"),
            format!("'{text}'"),
            json.clone(),
            text.replace('"', "\\\""),
            text.replace('{', "{\\n").replace(',', ",\\n  "),
            STANDARD.encode(&text),
            format!(r#"{{"keys":[{text}]}}"#),
            format!(r#"{{"keys":[{},{text}]}}"#, self::text("p384-public.jwk")),
        ] {
            let found = read(&mangled).unwrap_or_else(|problem| panic!("{name}: {problem}\n{mangled}"));
            assert_eq!(public(&found), expected, "{mangled}");
        }
    }
}

#[test]
fn numbers_of_a_jwk_are_read_as_libraries_write_them() {
    for name in ["rsa.jwk", "p384.jwk"] {
        let text = text(name);
        let expected = public(&read(&text).unwrap());
        let jwk: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let rewrites: [(&str, Rewrite); 4] = [
            ("padded", |bytes| URL_SAFE.encode(bytes)),
            ("plain base64", |bytes| STANDARD.encode(bytes)),
            ("a sign in front", |bytes| URL_SAFE.encode([&[0], bytes].concat())),
            ("no zeros in front", |bytes| {
                URL_SAFE.encode(&bytes[bytes.iter().take_while(|byte| **byte == 0).count()..])
            }),
        ];
        for (how, rewrite) in rewrites {
            let mut other = jwk.clone();
            for field in ["n", "e", "d", "p", "q", "dp", "dq", "qi", "x", "y"] {
                if let Some(value) = other.get_mut(field) {
                    let bytes = document::base64(value.as_str().unwrap(), &alphabet::URL_SAFE).unwrap();
                    *value = rewrite(&bytes).into();
                }
            }
            let text = serde_json::to_string(&other).unwrap();
            let found = read(&text).unwrap_or_else(|problem| panic!("{name}, {how}: {problem}"));
            assert_eq!(public(&found), expected, "{name}, {how}");
        }
    }
}

#[test]
fn a_point_with_zeros_in_front_is_read_without_them() {
    // One in 256 keys has a coordinate that begins with a zero, which some libraries do not write.
    let short = padded(&[7; 47], 48).unwrap();
    assert_eq!((short.len(), short[0], short[1]), (48, 0, 7));
    assert!(padded(&[7; 49], 48).is_none());
}

#[test]
fn other_formats_are_named_with_the_command_that_converts_them() {
    let key = text("p384-pkcs8.pem");
    let body: String = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let labelled = |label: &str| key.replace("PRIVATE KEY", label);
    for (text, problem, says) in [
        (labelled("OPENSSH PRIVATE KEY"), BadKey::OpenSsh, "ssh-keygen -p -N '' -m PKCS8"),
        (labelled("OPENSSH PRIVATE KEY").replace('\n', "\\n"), BadKey::OpenSsh, "ssh-keygen"),
        (STANDARD.encode(labelled("OPENSSH PRIVATE KEY")), BadKey::OpenSsh, "ssh-keygen"),
        ("PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none".to_owned(), BadKey::Putty, "puttygen"),
        ("<RSAKeyValue><Modulus>AAAA</Modulus></RSAKeyValue>".to_owned(), BadKey::Xml, "ExportPkcs8PrivateKeyPem"),
        ("ssh-rsa AAAAB3NzaC1yc2E me@host".to_owned(), BadKey::Public, "public key"),
        ("ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTI me@host".to_owned(), BadKey::Public, "public key"),
        (labelled("PUBLIC KEY"), BadKey::Public, "public key"),
        (labelled("CERTIFICATE REQUEST"), BadKey::Certificate, "certificate"),
        (labelled("TRUSTED CERTIFICATE"), BadKey::Certificate, "certificate"),
        (labelled("PKCS7"), BadKey::Certificate, "certificate"),
        (labelled("DSA PRIVATE KEY"), BadKey::KeyType, "neither RSA nor EC"),
        (labelled("PGP PRIVATE KEY BLOCK"), BadKey::NotForSigning, "PGP"),
        (labelled("AGE ENCRYPTED FILE"), BadKey::NotForSigning, "age"),
        (labelled("EC PARAMETERS"), BadKey::Parameters, "BEGIN EC PRIVATE KEY"),
        (labelled("ENCRYPTED PRIVATE KEY"), BadKey::Encrypted, "openssl pkcs8 -topk8 -nocrypt"),
        (body, BadKey::NoFirstLine, "first and last line are missing"),
        (key.replace("-----END", "-----EN"), BadKey::CutShort, "last line"),
        (key.replace("-----END PRIVATE", "-----END PUBLIC"), BadKey::CutShort, "last line"),
        (key.replace("-----", "\u{2014}\u{2014}-"), BadKey::Dashes, "dashes"),
        (key.replace("-----BEGIN", "----BEGIN"), BadKey::Dashes, "dashes"),
        ("-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----".to_owned(), BadKey::Abridged, "placeholder"),
        ("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----".to_owned(), BadKey::Abridged, "placeholder"),
        (format!("{key}{}", text("p384-sec1.pem")), BadKey::Several, "more than one"),
        (format!(r#"{{"keys":[{},{}]}}"#, text("rsa.jwk"), text("p384.jwk")), BadKey::Several, "more than one"),
        (format!(r#"{{"keys":[{}]}}"#, text("p384-public.jwk")), BadKey::Public, "public key"),
        (r#"{"keys":[]}"#.to_owned(), BadKey::Public, "public key"),
        (key.replacen('M', "%4D", 1), BadKey::Damaged, "damaged"),
    ] {
        assert_eq!(read(&text).err(), Some(problem), "{text}");
        assert!(problem.to_string().contains(says), "{problem}");
    }
    // The same key twice is one key.
    assert!(read(&format!("{key}{key}")).is_ok());
    // openssl writes the curve in front of the key.
    let with_parameters =
        format!("-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n{}", text("p384-sec1.pem"));
    assert!(!read(&with_parameters).unwrap_or_else(|problem| panic!("{problem}")).repaired);
}

#[test]
fn the_commands_that_a_message_advises_convert_the_key() {
    let folder = tempfile();
    let run = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).current_dir(&folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    let new = ["-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", "COPY"];
    if !run("ssh-keygen", &new) {
        return skipped("the conversion of an OpenSSH key", "no ssh-keygen on this machine");
    }
    let text = || std::fs::read_to_string(folder.join("COPY")).unwrap();
    assert_eq!(read(&text()).err(), Some(BadKey::OpenSsh));
    assert!(run("ssh-keygen", &["-q", "-p", "-N", "", "-m", "PKCS8", "-f", "COPY"]));
    assert!(read(&text()).is_ok_and(|found| !found.repaired));
    let explicit = ["ecparam", "-genkey", "-name", "secp384r1", "-param_enc", "explicit", "-noout", "-out", "old.sec1"];
    if !run("openssl", &explicit) {
        return skipped("the conversion of a key with a described curve", "no openssl on this machine");
    }
    assert!(run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "old.sec1", "-out", "old.pem"]));
    for name in ["old.sec1", "old.pem"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(read(&text).is_ok(), "{name}: a curve that is described is P-384 all the same");
    }
    let other = ["ecparam", "-genkey", "-name", "prime256v1", "-param_enc", "explicit", "-noout", "-out", "other.sec1"];
    assert!(run("openssl", &other));
    assert!(run("openssl", &["pkcs8", "-topk8", "-nocrypt", "-in", "other.sec1", "-out", "other.pem"]));
    for name in ["other.sec1", "other.pem"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read(&text).err(), Some(BadKey::WrongCurve), "{name}");
    }
    let locked = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-aes256",
        "-pass",
        "pass:planted",
        "-out",
        "old.pem",
    ];
    assert!(run("openssl", &locked));
    assert_eq!(read(&std::fs::read_to_string(folder.join("old.pem")).unwrap()).err(), Some(BadKey::Encrypted));
    assert!(run(
        "openssl",
        &["pkcs8", "-topk8", "-nocrypt", "-passin", "pass:planted", "-in", "old.pem", "-out", "private-key.pem"]
    ));
    assert!(read(&std::fs::read_to_string(folder.join("private-key.pem")).unwrap()).is_ok());
    std::fs::remove_dir_all(&folder).unwrap();
}

fn tempfile() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("qlik-context-keys-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

proptest! {
    #[test]
    fn no_mangling_of_a_key_makes_another_key_of_it(
        name in prop::sample::select(PEMS.to_vec()),
        insertions in prop::collection::vec((any::<prop::sample::Index>(), "[ \n\t\r\u{200b}\u{feff}]{1,3}|\\\\n|\\\\r\\\\n"), 0..12),
        cut in prop::option::of(any::<prop::sample::Index>())
    ) {
        let original = text(name);
        let expected = public(&read(&original).unwrap());
        let mut mangled = original.clone();
        for (at, text) in insertions {
            // Not into the dashes, which are no part of the key.
            let at = at.index(mangled.len());
            if mangled.is_char_boundary(at) {
                mangled.insert_str(at, &text);
            }
        }
        if let Some(cut) = cut {
            let at = cut.index(mangled.len());
            if mangled.is_char_boundary(at) {
                mangled.remove(at);
            }
        }
        if let Ok(found) = read(&mangled) {
            prop_assert_eq!(public(&found), expected);
        }
    }
}
