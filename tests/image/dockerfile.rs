//! The runtime stage of `deploy/Dockerfile`, built by Debian's buildah without network, equals the image of `cargo
//! xtask image`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::control_plane::Folder;

use crate::archive::{File, Image, program_of, unpack, xtask};

fn dockerfile() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/Dockerfile")).unwrap()
}

/// buildah with its own storage. It needs no daemon and no kernel module.
fn buildah(storage: &Path, args: &[&str]) -> std::io::Result<Output> {
    let root = storage.join("root");
    let run = storage.join("run");
    Command::new("buildah")
        .args(["--storage-driver", "vfs", "--root", &root.to_string_lossy(), "--runroot", &run.to_string_lossy()])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
}

/// The reason why buildah cannot build here; `None` if it can.
pub fn obstacle() -> Option<String> {
    let storage = Folder::new().ok()?;
    let mut args = vec!["from", "--name", "probe", "scratch"];
    match buildah(storage.path(), &args) {
        Err(_) => Some("buildah is missing: apt-get install buildah".to_owned()),
        Ok(output) if !output.status.success() => {
            Some(format!("buildah cannot run here: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Ok(_) => {
            args = vec!["rm", "probe"];
            // The storage is deleted with its folder anyway.
            let _ = buildah(storage.path(), &args);
            None
        }
    }
}

pub fn same(image: &Image) {
    let text = dockerfile();
    let toolchain = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.split("channel = \"").nth(1).unwrap().split('"').next().unwrap();
    let bases: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert!(bases[0].starts_with(&format!("docker.io/library/rust:{channel}-slim-bookworm@sha256:")), "{bases:?}");
    assert_eq!(bases[1..], ["scratch AS root", "scratch AS runtime"]);
    assert!(text.contains(&format!("\nARG VERSION={}\n", env!("CARGO_PKG_VERSION"))));

    let folder = Folder::new().unwrap();
    let here = folder.path();
    let (architecture, program) = program_of(image, here);
    let root = here.join("rootfs");
    xtask(image, &["--binary", &format!("{architecture}={}", program.display()), "--rootfs", &root.to_string_lossy()]);
    // Older versions also build every earlier stage, so the file contains only this one.
    let runtime = here.join("Dockerfile");
    fs::write(&runtime, text.split_at(text.find("FROM scratch AS runtime").unwrap()).1).unwrap();
    let label = |name: &str| image.config["config"]["Labels"][format!("org.opencontainers.image.{name}")].clone();
    let argument = |name: &str, label: Value| format!("{name}={}", label.as_str().unwrap_or_default());
    let built = buildah(
        here,
        &[
            "build",
            "--isolation",
            "chroot",
            "--pull=never",
            "--build-context",
            &format!("root={}", root.display()),
            "--build-arg",
            &argument("REVISION", label("revision")),
            "--build-arg",
            &argument("CREATED", label("created")),
            "--file",
            &runtime.to_string_lossy(),
            "--tag",
            "runtime",
            &here.join("rootfs").to_string_lossy(),
        ],
    )
    .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let archive = here.join("docker.tar");
    let pushed = buildah(here, &["push", "runtime", &format!("docker-archive:{}", archive.display())]).unwrap();
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));

    let parts = unpack(&fs::read(&archive).unwrap());
    let part = |name: &str| parts.iter().find(|part| part.path == name).unwrap_or_else(|| panic!("no {name}"));
    let manifest: Value = serde_json::from_slice(&part("manifest.json").content).unwrap();
    let config: Value = serde_json::from_slice(&part(manifest[0]["Config"].as_str().unwrap()).content).unwrap();
    for field in ["User", "Entrypoint", "Env", "WorkingDir", "ExposedPorts"] {
        assert_eq!(config["config"][field], image.config["config"][field], "{field}");
    }
    // buildah adds a label with its name.
    for (name, value) in image.config["config"]["Labels"].as_object().unwrap() {
        assert_eq!(config["config"]["Labels"][name], *value, "{name}");
    }
    let layers = manifest[0]["Layers"].as_array().unwrap();
    let files: Vec<File> = layers.iter().flat_map(|layer| unpack(&part(layer.as_str().unwrap()).content)).collect();
    let facts = |files: &[File]| {
        let mut facts: Vec<_> = files
            .iter()
            .filter(|file| file.kind.is_file())
            .map(|file| (file.path.clone(), file.mode & 0o7777, file.owner, crate::archive::sha256(&file.content)))
            .collect();
        facts.sort();
        facts
    };
    assert_eq!(facts(&files), facts(&image.files));
}
