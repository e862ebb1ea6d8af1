//! The two text formats of a scrape, and the choice between them.
//!
//! The registry encodes [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/). The older
//! [text format](https://prometheus.io/docs/instrumenting/exposition_formats/) is derived from it, line by line: it names a
//! counter by its sample, and has neither units nor the type `info`.

/// A format that `/metrics` can answer with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Text,
}

impl Format {
    /// The format that an `Accept` header prefers; without one, or when it names neither, the text format.
    pub fn accepted(accept: &str) -> Self {
        let mut best = (Self::Text, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse::<f64>().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            let format = match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => Self::OpenMetrics,
                "text/plain" if matches!(version, None | Some("0.0.4")) => Self::Text,
                "*/*" | "text/*" => Self::Text,
                _ => continue,
            };
            // Of formats with equal weight the first wins; 0 excludes a format.
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// For the header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Turns OpenMetrics, as the registry encodes it, into the text format.
pub(super) fn text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            // The type follows the help, and only the type tells the names of the samples.
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                text.extend(["# HELP ", name, suffix, " ", words, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_format_that_it_prefers_and_text_when_it_says_nothing() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", Format::OpenMetrics),
            ("text/plain;q=0.1, application/openmetrics-text;q=0.2", Format::OpenMetrics),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format::Text),
            ("application/openmetrics-text;q=0.1, text/plain", Format::Text),
            ("text/plain, application/openmetrics-text", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=much", Format::Text),
            ("text/html,*/*;q=0.8", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_text_format_names_a_counter_by_its_sample_and_has_no_units_and_no_info() {
        let open_metrics = "# HELP a_seconds A.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total 1.5\n\
                            # HELP b B.\n# TYPE b info\nb_info{version=\"1\"} 1\n\
                            # HELP c C.\n# TYPE c gauge\nc{name=\"# TYPE c counter\"} 2\n\
                            # HELP d D.\n# TYPE d unknown\nd 3\n# EOF\n";
        let classic = "# HELP a_seconds_total A.\n# TYPE a_seconds_total counter\na_seconds_total 1.5\n\
                       # HELP b_info B.\n# TYPE b_info gauge\nb_info{version=\"1\"} 1\n\
                       # HELP c C.\n# TYPE c gauge\nc{name=\"# TYPE c counter\"} 2\n\
                       # HELP d D.\n# TYPE d untyped\nd 3\n";
        assert_eq!(text(open_metrics), classic);
    }
}
