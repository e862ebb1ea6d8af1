//! Results as text: on the terminal, and as Markdown.

use std::fmt::Write as _;

use super::figures::{Report, Scenario};
use crate::screen::Screen;

/// Prints a whole report.
pub fn show(report: &Report, screen: Screen) {
    screen.heading(&format!(
        "{}, repository at {}, {} run of {}",
        report.operator, report.commit, report.scale, report.began
    ));
    report.scenarios.iter().for_each(|done| scenario(done, screen));
}

/// Prints one scenario.
pub fn scenario(scenario: &Scenario, screen: Screen) {
    screen.heading(&format!("{} ({:.0} s)", title(scenario), scenario.seconds));
    screen.text(&scenario.what);
    let name = |figure: &str| figure.chars().count();
    let width = scenario.figures.iter().map(|figure| name(&figure.name)).max().unwrap_or_default();
    for figure in &scenario.figures {
        let line = format!("  {:width$}  {:>9} {}", figure.name, value(figure.value), figure.unit);
        screen.text(line.trim_end());
    }
}

/// Its name and size.
pub fn title(scenario: &Scenario) -> String {
    if scenario.size == 0 { scenario.name.clone() } else { format!("{} {}", scenario.name, thousands(scenario.size)) }
}

/// A Markdown table of one scenario at all its sizes.
pub fn markdown(scenarios: &[&Scenario]) -> String {
    let Some(last) = scenarios.last() else { return String::new() };
    let mut text = String::from("| |");
    for scenario in scenarios {
        let size = if scenario.size == 0 { String::new() } else { format!(" {}", thousands(scenario.size)) };
        let _ = write!(text, "{size} |");
    }
    text += "\n| --- |";
    text += &" ---: |".repeat(scenarios.len());
    text.push('\n');
    for figure in &last.figures {
        let unit = if figure.unit.is_empty() { String::new() } else { format!(", {}", figure.unit) };
        let part = if figure.name.starts_with(' ') { "– " } else { "" };
        let _ = write!(text, "| {part}{}{unit} |", figure.name.trim());
        for scenario in scenarios {
            let shown = scenario.value(&figure.name).map(value).unwrap_or_default();
            let _ = write!(text, " {shown} |");
        }
        text.push('\n');
    }
    text
}

/// Three significant digits.
pub fn value(value: f64) -> String {
    let digits = match value.abs() {
        whole if whole >= 100.0 || (whole.fract() == 0.0) => 0,
        tens if tens >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if text.starts_with('-') && text.trim_start_matches(['-', '0', '.']).is_empty() {
        text[1..].to_owned()
    } else {
        text
    }
}

/// `10,000`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        for (number, text) in
            [(0.0, "0"), (3.0, "3"), (0.836, "0.84"), (12.34, "12.3"), (1234.5, "1234"), (-0.001, "0.00")]
        {
            assert_eq!(value(number), text);
        }
        for (number, text) in [(7, "7"), (300, "300"), (1_000, "1,000"), (10_000, "10,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn sizes_of_one_scenario_are_columns_of_one_table() {
        let mut small = Scenario::new("burst", 100, "");
        let mut large = Scenario::new("burst", 1_000, "");
        small.higher("operator", "tokens/s", 10.0);
        large.higher("operator", "tokens/s", 12.5);
        large.lower("  get secrets", "per token", 1.0);
        let expected = "| | 100 | 1,000 |\n| --- | ---: | ---: |\n| operator, tokens/s | 10 | 12.5 |\n\
                        | – get secrets, per token |  | 1 |\n";
        assert_eq!(markdown(&[&small, &large]), expected);
    }
}
