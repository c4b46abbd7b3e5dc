//! The process and the program: `process_*` under the names that every dashboard knows.
//!
//! From `/proc`, by hand: a few lines of text in place of a crate. Where there is no `/proc`, or it
//! is closed, these families are left out.
//!
//! Reference: Prometheus, "Writing client libraries", "Process metrics"; proc(5).

use std::fs;

use super::{Scrape, Unit};

/// Ticks in a second of what `/proc` tells to programs: `USER_HZ`, a part of the kernel's interface,
/// and the same on every architecture that we build for.
const TICKS_IN_A_SECOND: f64 = 100.0;

pub(super) fn collect(scrape: &mut Scrape<'_>) {
    scrape.info(
        "wampgate_build",
        "The program that runs.",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("revision", env!("WAMPGATE_COMMIT")),
            ("target", env!("WAMPGATE_TARGET")),
        ],
    );
    if let Some(of_process) = fs::read_to_string("/proc/self/stat")
        .ok()
        .as_deref()
        .and_then(read)
    {
        let mut gauge = |name, help, unit, number: f64| {
            scrape.gauge(name, help, unit, |samples| samples.put(&[], number));
        };
        gauge(
            "process_virtual_memory",
            "Virtual memory size.",
            Unit::Bytes,
            of_process.virtual_bytes,
        );
        if let Some(resident) = resident_bytes() {
            gauge(
                "process_resident_memory",
                "Resident memory size.",
                Unit::Bytes,
                resident,
            );
        }
        if let Some(booted) = boot_time() {
            gauge(
                "process_start_time",
                "Start of the process, since the epoch.",
                Unit::Seconds,
                booted + of_process.started_after_boot,
            );
        }
        scrape.counter(
            "process_cpu",
            "User and system time spent.",
            Unit::Seconds,
            |samples| samples.put(&[], of_process.cpu_seconds),
        );
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is that of the folder.
        let open = open.count().saturating_sub(1);
        scrape.gauge(
            "process_open_fds",
            "Open file descriptors.",
            Unit::None,
            |samples| {
                samples.put(&[], open);
            },
        );
    }
    if let Some(most) = most_files() {
        scrape.gauge(
            "process_max_fds",
            "Most open file descriptors.",
            Unit::None,
            |samples| samples.put(&[], most),
        );
    }
}

/// What `/proc/self/stat` says.
#[derive(Debug, PartialEq)]
struct OfProcess {
    cpu_seconds: f64,
    started_after_boot: f64,
    virtual_bytes: f64,
}

fn read(stat: &str) -> Option<OfProcess> {
    // The program's name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // They are counted from 1, and the first two are gone.
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some(OfProcess {
        cpu_seconds: (field(14)? + field(15)?) / TICKS_IN_A_SECOND,
        started_after_boot: field(22)? / TICKS_IN_A_SECOND,
        virtual_bytes: field(23)?,
    })
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .parse()
        .ok()
}

fn most_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) (b c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 4 0 12345 4096 7 8";
        assert_eq!(
            read(stat),
            Some(OfProcess {
                cpu_seconds: 3.0,
                started_after_boot: 123.45,
                virtual_bytes: 4096.0
            })
        );
        assert_eq!(read("12 (a) S 1"), None);
    }
}
