//! Compares two runs.

use super::figures::{Better, Figure, Report};
use super::table::{title, value};
use crate::screen::Screen;

/// Smaller changes are within the differences between two runs of the same program.
const NOISE: f64 = 0.05;

/// Prints every figure that both runs have and that changed.
pub fn show(before: &Report, after: &Report, screen: Screen) {
    screen.heading(&format!(
        "Before: {}, {}, {}. After: {}, {}, {}",
        before.operator, before.commit, before.began, after.operator, after.commit, after.began
    ));
    if (before.machine.cores, &before.machine.model) != (after.machine.cores, &after.machine.model) {
        screen.text("The machines differ: only counts can be compared.");
    }
    for scenario in &after.scenarios {
        let Some(earlier) = before.scenario(&scenario.name, scenario.size) else { continue };
        screen.heading(&title(scenario));
        for figure in &scenario.figures {
            let Some(old) = earlier.value(&figure.name) else { continue };
            if let Some(verdict) = verdict(old, figure) {
                let (old, new) = (value(old), value(figure.value));
                screen.text(&format!("  {:48} {old:>9} → {new:>9} {:10} {verdict}", figure.name, figure.unit));
            }
        }
    }
}

/// The text for a change; `None` when it is noise.
fn verdict(old: f64, figure: &Figure) -> Option<String> {
    let (new, change) = (figure.value, (figure.value - old) / old.abs());
    if change.is_nan() || change.abs() < NOISE {
        return None;
    }
    let word = match (figure.better, new > old) {
        (Better::Neither, _) => "",
        (Better::Higher, true) | (Better::Lower, false) => "better",
        _ => "worse",
    };
    let percent = if change.is_finite() { format!("{:+.0} %", 100.0 * change) } else { String::new() };
    Some(format!("{percent:>7} {word}").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, better: Better) -> Figure {
        Figure { name: String::new(), unit: String::new(), value, better }
    }

    #[test]
    fn a_change_is_rated_by_the_direction_that_is_an_improvement() {
        for (old, new, better, expected) in [
            (100.0, 200.0, Better::Higher, Some("+100 % better")),
            (100.0, 50.0, Better::Higher, Some("-50 % worse")),
            (9.0, 3.0, Better::Lower, Some("-67 % better")),
            (100.0, 103.0, Better::Lower, None),
            (0.0, 1.0, Better::Lower, Some("worse")),
            (1.0, 2.0, Better::Neither, Some("+100 %")),
            (0.0, 0.0, Better::Lower, None),
        ] {
            let said = verdict(old, &figure(new, better));
            assert_eq!(said.as_deref().map(str::trim), expected, "{old} {new}");
        }
    }
}
