//! Writes figures and plots of a run into docs/capacity.md, so that they always come from a run and are never edited by
//! hand.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use support::operator::repository;

use super::figures::{Report, Scenario};
use super::{plot, table};

const PAGE: &str = "docs/capacity.md";
const PLOTS: &str = "docs/capacity";
const BEGIN: &str = "<!-- figures: written by cargo xtask bench -->";
const END: &str = "<!-- end of figures -->";

/// Replaces the figures on the page, and the plots beside it.
pub fn write(report: &Report) -> anyhow::Result<()> {
    ensure!(!report.debug, "figures of debug builds are not documented");
    let page = repository().join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
    let folder = repository().join(PLOTS);
    fs::create_dir_all(&folder)?;
    let plots = plot::all(report, &folder)?;
    let with_figures = replaced(&text, &figures(report, &plots))?;
    fs::write(&page, with_figures).with_context(|| format!("cannot write {PAGE}"))
}

fn replaced(page: &str, figures: &str) -> anyhow::Result<String> {
    let before = page.split_once(BEGIN).with_context(|| format!("{PAGE} has no {BEGIN}"))?.0;
    let after = page.split_once(END).with_context(|| format!("{PAGE} has no {END}"))?.1;
    Ok(format!("{before}{BEGIN}\n\n{figures}{END}{after}"))
}

fn figures(report: &Report, plots: &[impl AsRef<Path>]) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "{}; repository at `{}`, {} run of {}, {:.0} min.\nMachine: {} cores ({}), {:.0} GiB of memory, {}.\n",
        report.operator,
        report.commit,
        report.scale,
        report.began,
        (report.seconds / 60.0).ceil(),
        machine.cores,
        machine.model,
        super::figures::number(machine.memory_mib) / 1024.0,
        machine.system,
    );
    for plot in plots {
        let file = plot.as_ref().file_name().unwrap_or_default().to_string_lossy();
        let _ = write!(text, "\n![{}](capacity/{file})\n", file.trim_end_matches(".svg"));
    }
    let mut names: Vec<&str> = report.scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    names.dedup();
    for name in names {
        let sizes: Vec<&Scenario> = report.sizes_of(name).collect();
        let what = sizes.first().map(|scenario| scenario.what.as_str()).unwrap_or_default();
        let _ = write!(text, "\n### {name}\n\n{what}\n\n{}", table::markdown(&sizes));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replaced(&page, "new\n").unwrap_or_default();
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&new, "new\n").ok(), Some(new));
        assert!(replaced("no marks", "new").is_err());
    }
}
