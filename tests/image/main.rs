//! The image that users run, as an archive: its contents, and that `deploy/Dockerfile` builds the same.
//!
//! `cargo xtask test` builds the image and passes it on. Without an image, every test here counts as ignored.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod archive;
mod dockerfile;
mod inside;
mod sbom;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use libtest_mimic::{Arguments, Trial};
use support::skipped::skipped;

use archive::Image;

/// The archive from `cargo xtask image`.
const IMAGE: &str = "QLIK_CONTEXT_TEST_IMAGE";

static FOUND: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::var_os(IMAGE).map(PathBuf::from));
static READ: LazyLock<Image> = LazyLock::new(|| Image::read(FOUND.as_ref().unwrap()));

/// The name of a test, and the reason why it cannot run here.
type Test = (&'static str, fn(&Image), fn() -> Option<String>);

const TESTS: [Test; 10] = [
    ("every_part_is_what_its_digest_says", archive::digests, always),
    ("the_archive_is_made_again_to_the_byte", archive::reproducible, always),
    ("programs_of_two_platforms_make_one_archive", archive::two_platforms, always),
    ("there_is_the_program_and_no_shell_no_package_manager_no_library", inside::files, always),
    ("nobody_but_root_may_write_anything_and_no_file_gives_a_privilege", inside::modes, always),
    ("the_user_is_not_root_and_the_labels_are_those_of_the_oci_specification", inside::configuration, always),
    ("the_ca_certificates_are_mozillas", inside::certificates, always),
    ("the_program_runs_by_itself_and_names_no_path_of_the_machine_that_built_it", inside::program, always),
    ("the_sbom_lists_the_crates_of_the_program_and_no_other", sbom::complete, always),
    ("the_dockerfile_makes_the_same_image", dockerfile::same, dockerfile::obstacle),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let missing = match &*FOUND {
        None => Some(format!("there is no image: run `cargo xtask test`, which builds one, or set {IMAGE}")),
        Some(path) if !path.is_file() => Some(format!("{} does not exist", path.display())),
        Some(_) => None,
    };
    let tell = |what: &str, reason: &str| {
        if !arguments.list {
            skipped(what, reason);
        }
    };
    if let Some(reason) = &missing {
        tell("the tests of the image", reason);
    }
    let trials = TESTS.map(|(name, test, obstacle)| {
        let own = if missing.is_none() { obstacle() } else { None };
        if let Some(reason) = &own {
            tell(name, reason);
        }
        Trial::test(name, move || {
            test(&READ);
            Ok(())
        })
        .with_ignored_flag(missing.is_some() || own.is_some())
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

fn always() -> Option<String> {
    None
}
