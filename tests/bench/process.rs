//! What the kernel says about a process: CPU time, runs, private memory, and about the machine.

use std::fs;
use std::time::Duration;

/// Counters of a process at one moment; all threads together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Time on a CPU (`schedstat`, ns resolution).
    pub(crate) cpu: Duration,
    /// Times that a thread went to sleep or was displaced.
    pub(crate) switches: u64,
}

/// Reads the counters of `pid`; threads that have ended are not in them.
pub(crate) fn sample(pid: u32) -> Sample {
    let mut all = Sample::default();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return all };
    for task in tasks.flatten() {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let on_cpu = read("schedstat").split_whitespace().next().and_then(|ns| ns.parse().ok());
        all.cpu += Duration::from_nanos(on_cpu.unwrap_or(0));
        let status = read("status");
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        all.switches += counts.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>();
    }
    all
}

/// Private memory, clean and dirty, in KiB.
pub(crate) fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let private = rollup.lines().filter(|line| line.starts_with("Private_Clean") || line.starts_with("Private_Dirty"));
    private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// How many threads it has.
pub(crate) fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// Gives this process and all that it starts more of a shared machine, where the system allows it.
pub(crate) fn raise() -> bool {
    // Where sessions share the processor before processes do, this one needs a session of its own to count for more.
    if std::path::Path::new("/proc/self/autogroup").exists() {
        // Without a terminal to interrupt us, the end of who started us must do; a leader of a group stays where it is.
        let _ = nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM);
        if nix::unistd::setsid().is_ok() {
            let _ = fs::write("/proc/self/autogroup", "-15");
        }
    }
    let pid = std::process::id().to_string();
    let done = std::process::Command::new("renice")
        .args(["-n", "-15", "-p", &pid])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    done.is_ok_and(|status| status.success())
}

/// Processor, cores, kernel.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1).map(str::trim));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {cores} cores, Linux {}", model.unwrap_or("unknown processor"), kernel.trim())
}

/// The load average of the last minute.
pub(crate) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}
