//! Plots as SVG.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use plotters::prelude::*;

use super::figures::{Report, Scenario, size};
use super::table::thousands;

const WIDTH: u32 = 720;
const HEIGHT: u32 = 400;
/// Colours that color-blind people can distinguish (Okabe and Ito).
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// The content of a plot.
struct Plot<'a> {
    file: &'static str,
    title: String,
    x: &'a str,
    y: &'a str,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

/// Draws the curves of the report; returns the files.
pub fn all(report: &Report, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let bursts: Vec<&Scenario> = report.sizes_of("burst").collect();
    let mut plots = Vec::new();
    if let Some(largest) = bursts.last() {
        let of = |unit: &str| {
            let curves = largest.curves.iter().filter(|curve| curve.unit == unit);
            curves.map(|curve| (curve.name.clone(), curve.points.clone())).collect()
        };
        let contexts = thousands(largest.size);
        plots.push(Plot {
            file: "burst.svg",
            title: format!("Burst of {contexts} contexts (the bare client with fewer)"),
            x: "seconds since the start of the process",
            y: "contexts ready",
            lines: of("contexts ready"),
        });
        plots.push(Plot {
            file: "memory.svg",
            title: format!("Memory during a burst of {contexts} contexts"),
            x: "seconds since the start of the process",
            y: "MiB resident",
            lines: of("MiB"),
        });
    }
    if bursts.len() > 1 {
        let over_sizes = |names: &[(&str, &str)]| {
            let line = |figure: &str| {
                bursts.iter().filter_map(|burst| Some((size(burst.size), burst.value(figure)?))).collect()
            };
            names.iter().map(|(figure, label)| ((*label).to_owned(), line(figure))).collect()
        };
        plots.push(Plot {
            file: "rate.svg",
            title: "Tokens a second by the size of the burst".to_owned(),
            x: "contexts",
            y: "tokens a second",
            lines: over_sizes(&[("operator", "operator"), ("bare client", "bare client")]),
        });
        plots.push(Plot {
            file: "cost.svg",
            title: "CPU time of a token by the size of the burst".to_owned(),
            x: "contexts",
            y: "ms a token",
            lines: over_sizes(&[
                ("operator CPU", "operator"),
                ("bare client CPU", "bare client"),
                ("API server CPU", "API server, for the operator"),
                ("API server CPU for the bare client", "API server, for the bare client"),
            ]),
        });
    }
    let draw = |plot: &Plot| {
        let file = folder.join(plot.file);
        plot.draw(&file).map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))?;
        Ok(file)
    };
    plots.iter().map(draw).collect()
}

impl Plot<'_> {
    fn draw(&self, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max).max(0.001);
        let x = most(&mut points().map(|point| point.0));
        let y = most(&mut points().map(|point| point.1));
        let root = SVGBackend::new(file, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 22))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..x * 1.02, 0.0..y * 1.15)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .light_line_style(TRANSPARENT)
            .label_style(("sans-serif", 15))
            .axis_desc_style(("sans-serif", 16))
            .x_label_formatter(&|value| label(*value))
            .y_label_formatter(&|value| label(*value))
            .draw()?;
        for ((name, points), color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let key = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
            chart.draw_series(line)?.label(name).legend(key);
            if points.len() < 20 {
                let dots = points.iter().map(|point| Circle::new(*point, 3, color.filled()));
                chart.draw_series(dots)?;
            }
        }
        chart
            .configure_series_labels()
            .label_font(("sans-serif", 15))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(root.present()?)
    }
}

fn label(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
