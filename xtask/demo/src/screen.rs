//! What the demo prints, 80 columns wide.

use std::{
    env,
    io::{self, ErrorKind, IsTerminal as _, Write as _},
};

use anyhow::{Context as _, Result};
use harness::interrupt;

/// The screen. Each of its lines fails once the demo was told to stop, which ends the step.
pub struct Screen {
    colour: bool,
    step: u32,
    closed: bool,
}

impl Screen {
    pub fn new() -> Self {
        let colour = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
        Self { colour, step: 0, closed: false }
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
        interrupt::go_on()?;
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        self.closed |= matches!(&written, Err(error) if error.kind() == ErrorKind::BrokenPipe);
        written.context("print")
    }

    /// Whether the reader has gone, which has seen enough.
    pub fn closed(&self) -> bool {
        self.closed
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
