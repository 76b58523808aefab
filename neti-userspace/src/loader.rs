//! Loads the kernel programs and pins their maps.
//!
//! Maps and links are pinned, so that the dataplane outlives the daemon: a restart finds the maps of
//! this layout version, checks their shape, and swaps the programs under the live links
//! ([`attach`]).

pub mod attach;
pub mod bpf;
pub mod permission;
pub mod pins;
pub mod room;
pub mod shape;
mod trace;

use std::{fs, thread};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::{Program, ProgramError},
};
use neti_common::maps::name;

use self::pins::Pins;

/// The object with the kernel programs, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dataplane"));

/// The names of the programs in the object.
pub mod program {
    pub const FILTER: &str = "neti_filter";
    pub const INGRESS: &str = "neti_ingress";
    pub const EGRESS: &str = "neti_egress";
    pub const GUARD: &str = "neti_guard";
    /// Those that the others hand IPv6 to.
    pub const FILTER6: &str = "neti_filter6";
    pub const INGRESS6: &str = "neti_ingress6";
    pub const EGRESS6: &str = "neti_egress6";
    /// Those that note whose packets the others drop.
    pub const FILTER_NOTE: &str = "neti_filter_note";
    pub const NOTE: &str = "neti_note";
}

/// What is asked of the programs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// They log what they drop.
    pub trace: bool,
    /// Those for XDP are needed.
    pub xdp: bool,
}

/// Loads the programs into the kernel, with the maps of [`make_maps`]. Nothing is attached, and what is
/// attached goes on as it was.
pub async fn load(pins: &Pins, options: Options) -> Result<Ebpf> {
    let mut ebpf = make_maps(pins, options.trace)?;
    if options.trace {
        trace::forward(&mut ebpf)?;
    }
    // The verifier takes its time, in which a signal must be heard; what it is busy with leaves
    // nothing behind.
    tokio::task::spawn_blocking(move || load_programs(&mut ebpf, options.xdp).map(|()| ebpf))
        .await?
}

/// Makes the maps and pins them, or takes those that are pinned.
pub fn make_maps(pins: &Pins, trace: bool) -> Result<Ebpf> {
    let maps = shape::pinned_maps(OBJECT)?;
    for map in &maps {
        shape::check(pins, map)?;
    }
    let directory = pins.maps();
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let mut loader = EbpfLoader::new();
    for map in &maps {
        loader.map_pin_path(&map.name, pins.map(&map.name));
    }
    let trace = u8::from(trace);
    loader.override_global("TRACE", &trace, false);
    loader.load(OBJECT).context("making the maps")
}

/// Loads the programs with maps of their own, which end with this call: would the kernel take them?
pub fn verify() -> Result<()> {
    let mut ebpf = EbpfLoader::new().load(OBJECT).context("loading the kernel programs")?;
    load_programs(&mut ebpf, true)?;
    hand_over(&mut ebpf, true)
}

/// Each in a thread of its own: the verifier takes up to a second for all of them.
fn load_programs(ebpf: &mut Ebpf, xdp: bool) -> Result<()> {
    thread::scope(|scope| {
        let loads: Vec<_> = ebpf
            .programs_mut()
            .filter(|(_, program)| xdp || !matches!(program, Program::Xdp(_)))
            .map(|(name, program)| scope.spawn(move || load_program(name, program)))
            .collect();
        loads.into_iter().try_for_each(|load| {
            load.join().unwrap_or_else(|_| Err(anyhow!("loading a program panicked")))
        })
    })
}

fn load_program(name: &str, program: &mut Program) -> Result<()> {
    let loaded = match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(|error| refused(name, error))
}

/// Puts the programs that others hand over to where those find them, and those find them too that are
/// attached: it belongs to attaching. `xdp`: also those for XDP, which must be loaded.
pub fn hand_over(ebpf: &mut Ebpf, xdp: bool) -> Result<()> {
    let filter = [(name::ARRIVES6, program::FILTER6), (name::NOTE, program::FILTER_NOTE)];
    let tc = [
        (name::ARRIVES6, program::INGRESS6),
        (name::LEAVES6, program::EGRESS6),
        (name::NOTE, program::NOTE),
    ];
    let filter = filter.map(|(index, program)| (name::XDP_PROGRAMS, index, program));
    let tc = tc.map(|(index, program)| (name::TC_PROGRAMS, index, program));
    for (name, index, program) in filter.into_iter().filter(|_| xdp).chain(tc) {
        let loaded =
            ebpf.program(program).with_context(|| format!("program {program}: missing"))?;
        let fd = loaded.fd().with_context(|| format!("program {program}"))?.try_clone()?;
        let mut programs = programs(ebpf, name)?;
        programs.set(index, &fd, 0).with_context(|| format!("map {name}: {program}"))?;
    }
    Ok(())
}

/// Lets go of the programs for XDP that an earlier start has put there.
pub fn forget_xdp(ebpf: &mut Ebpf) -> Result<()> {
    let mut programs = programs(ebpf, name::XDP_PROGRAMS)?;
    for index in [name::ARRIVES6, name::NOTE] {
        match programs.clear_index(&index) {
            Err(error) if !bpf::is_absent(&error) => return Err(error).context(name::XDP_PROGRAMS),
            _ => {}
        }
    }
    Ok(())
}

fn programs<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<ProgramArray<&'a mut MapData>> {
    let map = ebpf.map_mut(name).with_context(|| format!("map {name}: missing"))?;
    map.try_into().context(name)
}

/// The verifier's log is hundreds of lines and goes to the debug log; the error keeps the one that says why, which is the last
/// before its statistics.
fn refused(name: &str, error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            tracing::debug!("verifier log of {name}:\n{log}");
            let statistics = ["processed ", "stack depth ", "verification time "];
            let says = |line: &&str| {
                !line.trim().is_empty() && !statistics.iter().any(|start| line.starts_with(start))
            };
            let why = log.lines().rev().find(says).unwrap_or_default();
            anyhow!("program {name}: the kernel refused it: {io_error}: {why}")
        }
        other => anyhow::Error::new(other).context(format!("program {name}: loading it")),
    }
}
