//! The metrics of the process itself, with the [names that every client library has][names]. Read at each scrape, on systems
//! with `/proc`.
//!
//! [names]: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

/// Reads `/proc/self`.
#[derive(Debug)]
pub(super) struct Process;

#[cfg(target_os = "linux")]
impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        // Without `/proc` the series are absent.
        let Some(read) = linux::read() else { return Ok(()) };
        linux::encode(&read, &mut encoder)
    }
}

#[cfg(not(target_os = "linux"))]
impl Collector for Process {
    fn encode(&self, _: DescriptorEncoder) -> Result<(), fmt::Error> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;

    use procfs::WithCurrentSystemInfo as _;
    use procfs::process::{LimitValue, Process};
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;
    use prometheus_client::registry::Unit;

    #[derive(Debug, PartialEq)]
    pub(super) struct Read {
        cpu_seconds: f64,
        start_seconds: f64,
        resident_bytes: u64,
        virtual_bytes: u64,
        threads: i64,
        open_fds: Option<u64>,
        max_fds: Option<u64>,
    }

    #[expect(clippy::cast_precision_loss, reason = "ticks since the boot, exact for ages")]
    pub(super) fn read() -> Option<Read> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let boot = procfs::boot_time_secs().ok()? as f64;
        let max_fds = process.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(value) => Some(value),
            LimitValue::Unlimited => None,
        });
        Some(Read {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            start_seconds: boot + stat.starttime as f64 / ticks,
            resident_bytes: stat.rss_bytes().get(),
            virtual_bytes: stat.vsize,
            threads: stat.num_threads,
            open_fds: process.fd_count().ok().and_then(|count| count.try_into().ok()),
            max_fds,
        })
    }

    pub(super) fn encode(read: &Read, encoder: &mut DescriptorEncoder) -> Result<(), fmt::Error> {
        let cpu = ConstCounter::new(read.cpu_seconds);
        let help = "Total user and system CPU time spent in seconds.";
        let counter = MetricType::Counter;
        cpu.encode(encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), counter)?)?;
        let help = "Start time of the process since unix epoch in seconds.";
        let start = ConstGauge::new(read.start_seconds);
        let gauge = MetricType::Gauge;
        start.encode(encoder.encode_descriptor("process_start_time", help, Some(&Unit::Seconds), gauge)?)?;
        for (name, help, unit, value) in [
            ("process_resident_memory", "Resident memory size in bytes.", Some(Unit::Bytes), Some(read.resident_bytes)),
            ("process_virtual_memory", "Virtual memory size in bytes.", Some(Unit::Bytes), Some(read.virtual_bytes)),
            ("process_threads", "Number of OS threads in the process.", None, read.threads.try_into().ok()),
            ("process_open_fds", "Number of open file descriptors.", None, read.open_fds),
            ("process_max_fds", "Maximum number of open file descriptors.", None, read.max_fds),
        ] {
            let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else { continue };
            let metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}
