//! Builds the library that makes the system's random numbers constant, on Linux; see `src/constant.c`.

use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let source = "src/constant.c";
    println!("cargo::rerun-if-changed={source}");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let library = Path::new(&env::var("OUT_DIR")?).join("libconstant.so");
    let mut compiler = cc::Build::new().try_get_compiler()?.to_command();
    let built = compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status()?;
    if !built.success() {
        return Err("the library does not compile".into());
    }
    println!("cargo::rustc-env=CONSTANT={}", library.display());
    Ok(())
}
