//! What the daemon's log says of how long something took.

/// A line of the daemon's log about one thing, as its fields.
pub struct Said<'a>(&'a str);

impl<'a> Said<'a> {
    /// The lines with this message.
    pub fn all(log: &'a str, message: &str) -> Vec<Said<'a>> {
        log.lines().filter(|line| line.contains(message)).map(Said).collect()
    }

    /// The number of a field; `None` if it is not there.
    pub fn number(&self, field: &str) -> Option<f64> {
        let fields = self.0.split_whitespace();
        fields
            .filter_map(|word| word.split_once('='))
            .find(|(name, _)| *name == field)?
            .1
            .parse()
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let log = "2026-01-01T00:00:00Z  INFO registry read members=8 took_ms=3\n\
                   2026-01-01T00:00:00Z  INFO maps changed revision=7 put=2 took_ms=0.052 heard_ms=0.25\n";
        let [changed] = &Said::all(log, "maps changed")[..] else { panic!("one line") };
        assert_eq!(changed.number("heard_ms"), Some(0.25));
        assert_eq!((changed.number("put"), changed.number("members")), (Some(2.0), None));
    }
}
