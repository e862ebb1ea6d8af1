//! Durations as kubectl prints them, and relative times: "in 5h59m", "3m ago".

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A duration in at most two units, the smaller one only where it matters (as in kubectl's AGE column).
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours, days) = (seconds / MINUTE, seconds / HOUR, seconds / DAY);
    let two = |large: u64, unit: char, rest: u64, small: char| match rest {
        0 => format!("{large}{unit}"),
        rest => format!("{large}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % MINUTE, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        _ => format!("{days}d"),
    }
}

/// How long something has existed.
pub fn since(time: Timestamp, now: Timestamp) -> String {
    span(Duration::try_from(now.duration_since(time)).unwrap_or_default())
}

/// The time left until `time`; `None` when it has passed.
pub fn left(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now)).ok().filter(|left| !left.is_zero())
}

/// "in 5h59m", or "3m ago".
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    match left(time, now) {
        Some(left) => format!("in {}", span(left)),
        None => format!("{} ago", since(time, now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_units_that_matter() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (3599, "59m"),
            (10_799, "179m"),
            (21_599, "5h59m"),
            (100_000, "27h"),
            (180_000, "2d2h"),
            (172_800, "2d"),
            (864_000, "10d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn times_lie_ahead_or_behind() {
        let now = Timestamp::UNIX_EPOCH;
        let later = now + Duration::from_mins(1);
        assert_eq!(relative(later, now), "in 60s");
        assert_eq!(relative(now, later), "60s ago");
        assert_eq!(relative(now, now), "0s ago");
        assert_eq!(since(later, now), "0s", "a clock that is behind is no error");
    }
}
