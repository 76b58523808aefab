//! What the demo prints, 80 columns wide, and whether it was told to stop.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The screen. Each of its lines fails once the demo was told to stop, which ends the step.
pub struct Screen {
    colour: bool,
    step: u32,
}

impl Screen {
    pub fn new() -> Self {
        let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
        Self { colour, step: 0 }
    }

    /// Begins a step.
    pub fn step(&mut self, title: &str) -> Result<()> {
        self.step += 1;
        let title = self.paint("1", title);
        self.line(&format!("\n{}. {title}", self.step))
    }

    /// A claim that was verified.
    pub fn ok(&mut self, claim: &str) -> Result<()> {
        let tick = self.paint("32", "✓");
        self.line(&format!("   {tick} {claim}"))
    }

    /// What a program printed, cut to the screen's width, and how it was called.
    pub fn output(&mut self, command: &str, output: &str) -> Result<()> {
        let prompt = self.paint("2", &format!("$ {command}"));
        self.line(&format!("\n{prompt}"))?;
        output.trim_end().lines().try_for_each(|line| self.line(&cut(line)))
    }

    /// Any line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        if interrupted() {
            bail!("interrupted");
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).context("print")
    }

    /// What did not hold.
    pub fn failed(&self, error: &anyhow::Error) {
        eprintln!("   {} {error:#}", self.paint("31", "✗"));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const WIDTH: usize = 80;

fn cut(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether Ctrl-C was pressed, or the demo was told to end otherwise.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Makes such signals end the demo at its next line, so that everything is cleaned up.
pub fn watch_for_interrupts() -> Result<()> {
    extern "C" fn note(_: i32) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    // A handler, unlike a blocked signal, is not inherited by the programs that are started.
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.with_context(|| format!("handle {signal}"))?;
    }
    Ok(())
}
