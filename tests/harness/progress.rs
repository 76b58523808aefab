//! What is being done, on stderr: one line that changes for a person, a line per round for a log.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Instant,
};

pub struct Progress {
    terminal: bool,
    started: Instant,
    step: String,
}

impl Progress {
    pub fn start() -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, started: Instant::now(), step: String::new() }
    }

    /// Begins a step, of which a log hears too.
    pub fn step(&mut self, what: &str) {
        self.step = format!("{what}: ");
        if !self.terminal {
            eprintln!("{:4} s  {what}", self.started.elapsed().as_secs());
        }
    }

    /// What is done within the step.
    pub fn show(&mut self, what: &str) {
        if self.terminal {
            // To the line's beginning, and what stood there is erased.
            eprint!("\r\x1b[K{:4} s  {}{what}", self.started.elapsed().as_secs(), self.step);
            let _ = io::stderr().flush();
        }
    }

    /// Leaves the line to what is printed next.
    pub fn done(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
