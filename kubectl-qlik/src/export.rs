//! `export`: writes the token into qlik-cli's file, and keeps the contexts in it.

mod contexts_file;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::jiff::Timestamp;
use secrecy::ExposeSecret as _;

use crate::args::{ClusterFlags, ExportArgs};
use crate::cluster::{self, Cluster};
use crate::{age, object, screen, token};
use contexts_file::Entry;

/// Far larger than any such file.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Runs the command.
pub async fn run(flags: &ClusterFlags, args: &ExportArgs) -> anyhow::Result<()> {
    let path = path(args)?;
    let cluster = Cluster::connect(flags).await?;
    let context = object::read(&cluster, &args.name).await?;
    let published = token::published(&cluster, &context).await?;
    let name = args.called.as_deref().unwrap_or(&args.name);
    let server = published.tenant.to_string();
    let entry = Entry { name, server: &server, token: published.token.expose_secret() };
    let before = read(&path)?;
    let merged = contexts_file::merge(&before, &entry, args.make_current, args.force);
    let merged = merged.map_err(|problem| anyhow!("{}: {problem}", path.display()))?;
    write(&path, &merged.text)?;
    screen::note(&format!("{} has the context {name} for {server}.", path.display()));
    if !merged.current {
        screen::note(&format!(
            "Another context is the current one there: use it with `qlik --context {name}`, or give --use."
        ));
    }
    if merged.rewritten {
        screen::note("The file was rewritten, so comments in it are lost.");
    }
    if let Some(expires) = published.expires_at {
        let left = age::relative(expires, Timestamp::now());
        screen::note(&format!("The token in it expires {left} and is not renewed there: export it again then."));
    }
    Ok(())
}

/// The target of symbolic links, so that a link stays a link.
fn path(args: &ExportArgs) -> anyhow::Result<PathBuf> {
    let path = match &args.to {
        Some(path) => path.clone(),
        None => cluster::home().context("there is no home folder: name the file with --to")?.join(".qlik/contexts.yml"),
    };
    if path.as_os_str() == "-" {
        bail!("--to names a file; `kubectl qlik token` prints the token");
    }
    Ok(fs::canonicalize(&path).unwrap_or(path))
}

fn read(path: &Path) -> anyhow::Result<String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Ok(metadata) if metadata.is_dir() => bail!("{} is a folder: name the file in it", path.display()),
        Ok(metadata) if metadata.len() > LONGEST => bail!("{} is no file of qlik-cli: it is too long", path.display()),
        _ => {}
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes the file atomically, readable only by its owner from the first byte on.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let writing = || format!("cannot write {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder).with_context(writing)?;
    // Such a file has mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(writing)?;
    file.write_all(text.as_bytes()).with_context(writing)?;
    file.as_file().sync_all().with_context(writing)?;
    file.persist(path).map(|_| ()).map_err(|error| error.error).with_context(writing)
}

fn create_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}
