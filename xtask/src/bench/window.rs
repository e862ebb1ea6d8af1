//! A period of time, and the resources that each process used in it.

use std::time::{Duration, Instant};

use super::figures::Scenario;
use super::machine::{self, Cpu};
use super::requests::Requests;
use super::stage::Stage;

/// An open window.
pub struct Window {
    begin: Instant,
    processes: [Duration; 2],
    operator: Duration,
    cpu: Option<Cpu>,
    requests: Requests,
}

/// The resources used in a window.
#[derive(Clone, Debug)]
pub struct Spent {
    /// How long it was open.
    pub seconds: f64,
    /// CPU time of the operator in milliseconds.
    pub operator_ms: f64,
    /// CPU time of kube-apiserver in milliseconds.
    pub api_server_ms: f64,
    /// CPU time of the tenant in milliseconds.
    pub tenant_ms: f64,
    /// The requests to the API server.
    pub requests: Requests,
    /// Share of the machine's CPU time that other programs used, in percent.
    pub others: f64,
    /// Share that the hypervisor gave to other machines, in percent.
    pub steal: f64,
    /// The load average at its end.
    pub load: f64,
}

impl Window {
    /// Opens it. The operator is the process that is measured; one that starts within the window counts from its start.
    pub async fn open(stage: &Stage, operator: Option<u32>) -> anyhow::Result<Self> {
        let requests = Requests::read(&stage.client).await?;
        Ok(Self {
            begin: Instant::now(),
            processes: processes(stage),
            operator: operator.map(spent).unwrap_or_default(),
            cpu: machine::cpu(),
            requests,
        })
    }

    /// Closes it.
    pub async fn close(self, stage: &Stage, operator: Option<u32>) -> anyhow::Result<Spent> {
        let seconds = self.begin.elapsed().as_secs_f64();
        let now = processes(stage);
        let operator = operator.map(spent).unwrap_or_default();
        let (others, steal) = shares(self.cpu, machine::cpu());
        let requests = Requests::read(&stage.client).await?.since(&self.requests);
        let ms = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() * 1000.0;
        Ok(Spent {
            seconds,
            operator_ms: ms(operator, self.operator),
            api_server_ms: ms(now[0], self.processes[0]),
            tenant_ms: ms(now[1], self.processes[1]),
            requests,
            others,
            steal,
            load: machine::load().unwrap_or_default(),
        })
    }
}

impl Spent {
    /// Records how busy the machine was with other programs.
    pub fn note_machine(&self, scenario: &mut Scenario) {
        scenario.plain("CPU used by other programs", "%", self.others);
        scenario.plain("CPU stolen by the hypervisor", "%", self.steal);
        scenario.plain("load average", "", self.load);
    }
}

/// kube-apiserver and the tenant.
fn processes(stage: &Stage) -> [Duration; 2] {
    [spent(stage.control_plane.api_server_pid()), stage.tenant.pid().map(spent).unwrap_or_default()]
}

fn spent(pid: u32) -> Duration {
    machine::usage(pid).unwrap_or_default().cpu
}

/// Percent of others, and of the hypervisor.
fn shares(before: Option<Cpu>, after: Option<Cpu>) -> (f64, f64) {
    let (Some(before), Some(after)) = (before, after) else { return (0.0, 0.0) };
    let of = |part: fn(&Cpu) -> Duration| part(&after).saturating_sub(part(&before)).as_secs_f64();
    let total = of(|cpu| cpu.total).max(0.001);
    let others = (of(|cpu| cpu.busy) - of(|cpu| cpu.ours)).max(0.0);
    (100.0 * others / total, 100.0 * of(|cpu| cpu.steal) / total)
}
