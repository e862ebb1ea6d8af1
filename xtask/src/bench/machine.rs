//! Figures about a process and the machine, from Linux's /proc. Other systems have none, and the bench reports that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where a run took place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Processors that this process can use.
    pub cores: usize,
    /// Their model.
    pub model: String,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The operating system.
    pub system: String,
}

/// CPU time and memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU time since its start.
    pub cpu: Duration,
    /// Resident memory in MiB.
    pub rss_mib: f64,
    /// Peak resident memory in MiB.
    pub peak_mib: f64,
}

/// CPU time of the whole machine since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// The total.
    pub total: Duration,
    /// Time that was neither idle nor stolen.
    pub busy: Duration,
    /// Time that the hypervisor gave to other machines.
    pub steal: Duration,
    /// Time that the bench and its processes used.
    pub ours: Duration,
}

pub use platform::{cpu, describe, load, usage};

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::HashMap;
    use std::thread::available_parallelism;
    use std::time::Duration;

    use procfs::process::{Process, Stat, all_processes};
    use procfs::{CpuInfo, Current as _, CurrentSI as _, KernelStats, LoadAverage, Meminfo};

    use super::{Cpu, Machine, Usage};

    /// CPU time and memory of a running process.
    pub fn usage(pid: u32) -> Option<Usage> {
        let process = Process::new(pid.try_into().ok()?).ok()?;
        let (stat, status) = (process.stat().ok()?, process.status().ok()?);
        Some(Usage {
            cpu: ticks(stat.utime + stat.stime),
            rss_mib: mib(status.vmrss.unwrap_or_default()),
            peak_mib: mib(status.vmhwm.unwrap_or_default()),
        })
    }

    /// CPU time of the machine, and of this process with all processes that it started.
    pub fn cpu() -> Option<Cpu> {
        let total = KernelStats::current().ok()?.total;
        let steal = total.steal.unwrap_or_default();
        let busy =
            total.user + total.nice + total.system + total.irq.unwrap_or_default() + total.softirq.unwrap_or_default();
        let idle = total.idle + total.iowait.unwrap_or_default();
        Some(Cpu {
            total: ticks(busy + idle + steal),
            busy: ticks(busy),
            steal: ticks(steal),
            ours: ours().unwrap_or_default(),
        })
    }

    /// The load average over the last minute.
    pub fn load() -> Option<f64> {
        LoadAverage::current().ok().map(|load| f64::from(load.one))
    }

    /// The description of the machine for readers of the results.
    pub fn describe() -> Machine {
        let model = CpuInfo::current().ok().and_then(|info| info.model_name(0).map(str::to_owned));
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cores: available_parallelism().map_or(1, usize::from),
            model: model.unwrap_or_else(|| "unknown".to_owned()),
            memory_mib: Meminfo::current().map_or(0, |info| info.mem_total / 1024 / 1024),
            system: format!("Linux {}", release.trim()),
        }
    }

    fn ours() -> Option<Duration> {
        let me = Process::myself().ok()?;
        let stats = all_processes().ok()?.filter_map(|process| process.ok()?.stat().ok());
        let stats: HashMap<i32, Stat> = stats.map(|stat| (stat.pid, stat)).collect();
        let is_ours = |mut pid: i32| {
            while pid > 1 && pid != me.pid {
                pid = stats.get(&pid).map_or(0, |stat| stat.ppid);
            }
            pid == me.pid
        };
        // The parent has the sum of the processes that ended.
        let spent = |stat: &Stat| {
            let ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or_default();
            stat.utime + stat.stime + ended
        };
        Some(ticks(stats.values().filter(|stat| is_ours(stat.pid)).map(spent).sum()))
    }

    fn ticks(count: u64) -> Duration {
        Duration::from_millis(count * 1000 / procfs::ticks_per_second())
    }

    fn mib(kib: u64) -> f64 {
        super::super::figures::number(kib) / 1024.0
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::thread::available_parallelism;

    use super::{Cpu, Machine, Usage};

    pub fn usage(_pid: u32) -> Option<Usage> {
        None
    }

    pub fn cpu() -> Option<Cpu> {
        None
    }

    pub fn load() -> Option<f64> {
        None
    }

    pub fn describe() -> Machine {
        Machine {
            cores: available_parallelism().map_or(1, usize::from),
            model: "unknown".to_owned(),
            memory_mib: 0,
            system: std::env::consts::OS.to_owned(),
        }
    }
}
