//! Processor time and memory of processes, as Linux accounts for them in `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Clock ticks a second in `/proc/PID/stat`: 100 for every program on Linux, whatever the kernel's own tick.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that processes used up to now, all threads together, in user and kernel mode.
///
/// # Errors
/// When one of them does not exist.
pub fn cpu_time(pids: &[u32]) -> Result<Duration> {
    let mut total = Duration::ZERO;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("no process {pid}"))?;
        total += ticks_of(&stat).with_context(|| format!("{path} is not understood"))?;
    }
    Ok(total)
}

/// Processor time of processes that come and go, such as a server's workers; one that is gone counts nothing.
#[must_use]
pub fn cpu_time_of_group(pids: &[u32]) -> Duration {
    pids.iter().filter_map(|pid| cpu_time(&[*pid]).ok()).sum()
}

/// The processes of this machine that run the program `name`.
///
/// # Errors
/// When the system does not list its processes.
pub fn running(name: &str) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let pid = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        // A process may end between the listing and the look at it.
        if let (Some(pid), Ok(comm)) = (pid, fs::read_to_string(path.join("comm")))
            && comm.trim_end() == name
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The most memory that processes ever held, added up, in MiB.
///
/// # Errors
/// When one of them does not exist.
pub fn peak_memory_mib(pids: &[u32]) -> Result<f64> {
    let mut total = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("no process {pid}"))?;
        total += peak_of(&status).with_context(|| format!("{path} is not understood"))?;
    }
    Ok(total)
}

/// Fields 14 and 15 of `/proc/PID/stat`; the name in field 2 may itself hold blanks and parentheses.
fn ticks_of(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let kernel: f64 = fields.next()?.parse().ok()?;
    Some(Duration::from_secs_f64((user + kernel) / TICKS_PER_SECOND))
}

fn peak_of(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_is_no_obstacle() {
        let stat = "42 (a) b (c) R 1 42 42 0 -1 4194560 100 0 0 0 150 50 7 8 20 0 1 0 100 1 1";
        assert_eq!(ticks_of(stat), Some(Duration::from_secs(2)));
    }

    #[test]
    fn peak_memory_is_read_in_mib() {
        assert_eq!(
            peak_of("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n"),
            Some(2.0)
        );
        assert_eq!(peak_of("Name:\tkernel thread\n"), None);
    }

    #[test]
    fn this_very_process_has_figures_and_a_missing_one_is_an_error() {
        let own = std::process::id();
        assert!(peak_memory_mib(&[own]).unwrap() > 0.1);
        assert!(cpu_time(&[own]).is_ok());
        assert!(cpu_time(&[u32::MAX]).is_err());
    }
}
