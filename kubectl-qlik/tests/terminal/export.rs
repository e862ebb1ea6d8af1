//! `export`: the token in qlik-cli's file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::world::Case;

#[test]
fn the_file_keeps_other_entries_and_only_its_owner_can_read_it() {
    let case = Case::new("exported");
    case.ready("acme");
    let path = case.home.join(".qlik/contexts.yml");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (status, out, err) = case.pipes(&["export", "acme"], "");
    assert_eq!((status, out.as_str()), (0, ""), "{err}");
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let ours = fs::read_to_string(&path).unwrap();
    let published = case.kubectl(&[
        "get",
        "secret",
        "acme-token",
        "-o",
        r#"go-template={{index .data "contexts.yml" | base64decode}}"#,
    ]);
    assert_eq!(ours.trim_end(), published, "what the operator itself writes");

    fs::write(&path, "# mine\ncurrent-context: mine\ncontexts:\n  mine:\n    server: https://mine.eu.qlikcloud.com\n")
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (status, _, err) = case.pipes(&["export", "acme"], "");
    assert!(status == 0 && err.contains("Another context is the current one"), "{err}");
    let merged = fs::read_to_string(&path).unwrap();
    assert!(
        merged.starts_with("# mine\ncurrent-context: mine\n") && merged.contains("  mine:\n    server: https://mine"),
        "{merged}"
    );
    assert_eq!(mode(&path), 0o600);
    assert_eq!(case.pipes(&["export", "acme", "--use"], "").0, 0);
    assert!(fs::read_to_string(&path).unwrap().contains("current-context: \"acme\""));

    let (status, _, err) = case.pipes(&["export", "acme", "--name", "mine"], "");
    assert!(status == 1 && err.contains("is for another server") && err.contains("--force"), "{err}");
    for name in ["", " ", "a\nb"] {
        let (status, _, err) = case.pipes(&["export", "acme", "--name", name], "");
        assert!(status == 2 && err.contains("a name needs at least one character"), "{err}");
    }
    fs::write(&path, "not: [yaml").unwrap();
    let (status, _, err) = case.pipes(&["export", "acme"], "");
    assert!(status == 1 && err.contains("is not YAML"), "{err}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "not: [yaml", "a file that cannot be parsed is not changed");
    let (status, _, err) = case.pipes(&["export", "acme", "--to", "/proc/nowhere/x"], "");
    assert!(status == 1 && err.contains("cannot write /proc/nowhere/x"), "{err}");
    let (status, _, err) = case.pipes(&["export", "acme", "--to", "-"], "");
    assert!(status == 1 && err.contains("kubectl qlik token"), "{err}");
}
