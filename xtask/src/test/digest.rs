//! Reads what `cargo test` prints and says what of it is worth showing.

use std::time::Duration;

/// What a test program's closing line counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
    filtered: u64,
}

/// Collects a run.
#[derive(Debug, Default)]
pub struct Digest {
    /// The test program that is running, as cargo names it.
    program: Option<String>,
    /// What it has printed, or what was printed since the last one ended.
    lines: Vec<String>,
    total: Counts,
}

impl Digest {
    /// Takes a line, without its end; gives what to show.
    pub fn line(&mut self, line: &str) -> Option<String> {
        if let Some(program) = program(line) {
            // One that ended without its closing line died.
            let died = self.program.is_some().then(|| self.everything());
            self.lines.clear();
            self.program = Some(program.to_owned());
            return died;
        }
        self.lines.push(line.to_owned());
        let (counts, seconds) = closing(line)?;
        self.total.passed += counts.passed;
        self.total.failed += counts.failed;
        self.total.ignored += counts.ignored;
        self.total.filtered += counts.filtered;
        let text = if counts.failed > 0 || line.contains("FAILED") {
            Some(self.everything())
        } else if counts.passed + counts.ignored == 0 {
            None
        } else {
            Some(self.brief(&counts, seconds))
        };
        self.program = None;
        self.lines.clear();
        text
    }

    /// What is left to show at the end: what cargo said last, if the run failed.
    pub fn rest(&mut self, success: bool) -> Option<String> {
        (!success && !self.lines.is_empty()).then(|| self.everything())
    }

    /// Tests that ran.
    pub fn ran(&self) -> u64 {
        self.total.passed + self.total.failed
    }

    /// The closing line, in the form of cargo's own.
    pub fn summary(&self, success: bool, elapsed: Duration) -> String {
        let Counts { passed, failed, ignored, filtered } = self.total;
        let result = if success { "ok" } else { "FAILED" };
        format!(
            "test result: {result}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; \
             {filtered} filtered out; finished in {:.2}s",
            elapsed.as_secs_f64()
        )
    }

    fn brief(&self, counts: &Counts, seconds: &str) -> String {
        let program = self.program.as_deref().unwrap_or("tests");
        let mut text = format!("ok {:>5} in {seconds:>7}  {program}", counts.passed);
        if counts.ignored > 0 {
            text += &format!(" ({} ignored)", counts.ignored);
        }
        // A test that could not do its work on this machine says so; it must not pass for one that did.
        for line in self.lines.iter().filter(|line| line.trim_start().starts_with("skipped: ")) {
            text += &format!("\n   {}", line.trim());
        }
        text
    }

    fn everything(&self) -> String {
        let mut text = String::new();
        if let Some(program) = &self.program {
            text += &format!("--- {program}\n");
        }
        text + &self.lines.join("\n")
    }
}

/// The test program that cargo announces: `Running unittests src/lib.rs (target/debug/deps/x-0123456789abcdef)`.
fn program(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with("Doc-tests ") {
        return Some(line);
    }
    let path = line.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
    let file = path.1.rsplit('/').next()?;
    // The hash says nothing to a reader. "unittests src/lib.rs" needs its crate's name, "tests/x.rs" has its own.
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    Some(if path.0.starts_with("unittests") { name } else { path.0 })
}

/// Counts and duration of `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s`.
fn closing(line: &str) -> Option<(Counts, &str)> {
    let (_, fields) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for field in fields.split("; ") {
        let Some((number, what)) = field.split_once(' ') else { continue };
        let into = match what {
            "passed" => &mut counts.passed,
            "failed" => &mut counts.failed,
            "ignored" => &mut counts.ignored,
            "filtered out" => &mut counts.filtered,
            _ => continue,
        };
        *into = number.parse().ok()?;
    }
    Some((counts, fields.rsplit_once("finished in ").map_or("", |(_, seconds)| seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a run and gives what was shown, with the closing line.
    fn digest(output: &str, success: bool) -> (String, Digest) {
        let mut digest = Digest::default();
        let mut shown: Vec<String> = output.lines().filter_map(|l| digest.line(l)).collect();
        shown.extend(digest.rest(success));
        shown.push(digest.summary(success, Duration::from_millis(1500)));
        (shown.join("\n"), digest)
    }

    #[test]
    fn a_green_run_is_a_line_per_program() {
        let output = "\
    Finished `test` profile in 0.02s
     Running unittests src/lib.rs (target/debug/deps/neti_common-0123456789abcdef)

running 2 tests
..
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.25s

     Running unittests src/main.rs (target/debug/deps/neti-0123456789abcdef)

running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

     Running fragments.rs (target/debug/deps/fragments-0123456789abcdef)
skipped: this kernel has no netkit
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";
        let (shown, digest) = digest(output, true);
        assert_eq!(
            shown,
            "\
ok     2 in   0.25s  neti_common (1 ignored)
ok     1 in   1.00s  fragments.rs
   skipped: this kernel has no netkit
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 1.50s"
        );
        assert_eq!(digest.ran(), 3);
    }

    #[test]
    fn a_failure_is_shown_whole() {
        let output = "     Running tests/a.rs (target/debug/deps/a-01)\nleft: 1\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            error: 1 target failed:\n";
        let (shown, _) = digest(output, false);
        assert!(
            shown.starts_with("--- tests/a.rs\nleft: 1\ntest result: FAILED. 1 passed;"),
            "{shown}"
        );
        assert!(
            shown.contains("\nerror: 1 target failed:\ntest result: FAILED. 1 passed; 1 failed")
        );
    }

    #[test]
    fn a_program_that_dies_is_shown_whole() {
        let output = "     Running tests/a.rs (target/debug/deps/a-01)\nAborted\n     \
            Running tests/b.rs (target/debug/deps/b-01)\nkilled\nerror: test failed\n";
        let (shown, digest) = digest(output, false);
        assert!(
            shown.starts_with(
                "--- tests/a.rs\nAborted\n--- tests/b.rs\nkilled\nerror: test failed\n"
            )
        );
        assert_eq!(digest.ran(), 0);
    }
}
