//! `cargo xtask book` runs this program: it renders the book to `target/book/html`.

#![expect(clippy::print_stdout, reason = "the output of the command")]

use std::path::Path;

fn main() -> anyhow::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let folder = book::render(repository, &repository.join("target/book"))?;
    println!("{}", folder.join("index.html").display());
    Ok(())
}
