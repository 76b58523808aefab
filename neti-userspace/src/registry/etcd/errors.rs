//! What etcd's errors mean to us: whether another server may do better, whether our token is at
//! fault, whether we are refused.

use std::{error::Error as _, fmt::Write, time::Duration};

use anyhow::anyhow;
use etcd_client::Error;
use tonic::{Code, Status};

use crate::registry::RegistryError;

/// Why a request was not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: Kind,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody answers, or nobody who can decide.
    Unreachable,
    /// Whoever authenticates again may be let in.
    Token,
    /// We are not who we say, or may not do this.
    Refused,
    /// The revision that was asked for is no more.
    Compacted,
    /// There is no such lease.
    NoLease,
    /// There is such a lease already.
    LeaseExists,
    /// The record is another host's.
    Taken,
    Other,
}

impl Failure {
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }

    /// Nobody answered in time.
    pub fn silence(limit: Duration) -> Self {
        Self::new(Kind::Unreachable, format!("no answer within {:.1} s", limit.as_secs_f64()))
    }

    /// The error of who asked for something; `what` names the registry, the user and what was asked.
    pub fn error(self, what: &str) -> RegistryError {
        let text = format!("{what}: {}", self.why);
        match self.kind {
            Kind::Unreachable => RegistryError::Unreachable(text),
            Kind::Token | Kind::Refused => RegistryError::Refused(text),
            Kind::Compacted | Kind::NoLease | Kind::LeaseExists | Kind::Taken | Kind::Other => {
                RegistryError::Other(anyhow!(text))
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => Self { kind: kind(&status), why: chain(&status) },
            Error::LeaseKeepAliveError(why) if why == "lease not found" => {
                Self::new(Kind::NoLease, why)
            }
            // The stream that a request was to go out by is closed.
            Error::LeaseKeepAliveError(why) | Error::WatchError(why) => {
                Self::new(Kind::Unreachable, why)
            }
            Error::IoError(error) => Self::new(Kind::Unreachable, error.to_string()),
            other => Self::new(Kind::Other, sources(other.to_string(), other.source())),
        }
    }
}

/// etcd gives few of its errors a code of their own; the texts are those of
/// `api/v3rpc/rpctypes/error.go`.
fn kind(status: &Status) -> Kind {
    let says = |text: &str| status.message().contains(text);
    match status.code() {
        Code::Unauthenticated => Kind::Token,
        Code::InvalidArgument if says("revision of auth store is old") => Kind::Token,
        Code::InvalidArgument if says("user name is empty") => Kind::Token,
        Code::InvalidArgument if says("authentication failed") => Kind::Refused,
        Code::PermissionDenied => Kind::Refused,
        Code::OutOfRange if says("has been compacted") => Kind::Compacted,
        Code::NotFound if says("lease not found") => Kind::NoLease,
        Code::FailedPrecondition if says("lease already exists") => Kind::LeaseExists,
        // A full database is mended by an operator, not by this host.
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::DataLoss => {
            Kind::Unreachable
        }
        Code::Cancelled | Code::Aborted => Kind::Unreachable,
        // A status that our side has made of a connection's error has a source.
        Code::Unknown | Code::Internal if status.source().is_some() => Kind::Unreachable,
        _ => Kind::Other,
    }
}

/// The status and what it came from: a connection's error says only there what was wrong.
fn chain(status: &Status) -> String {
    sources(status.message().to_owned(), status.source())
}

fn sources(mut text: String, mut source: Option<&(dyn std::error::Error + 'static)>) -> String {
    while let Some(error) = source {
        let why = error.to_string();
        if !text.contains(&why) {
            // Writing into a string cannot fail.
            let _ = write!(text, ": {why}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let cases = [
            (Code::Unavailable, "etcdserver: no leader", Kind::Unreachable),
            (Code::Unavailable, "etcdserver: request timed out", Kind::Unreachable),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", {
                Kind::Unreachable
            }),
            (Code::Unauthenticated, "etcdserver: invalid auth token", Kind::Token),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", Kind::Token),
            (Code::InvalidArgument, "etcdserver: user name is empty", Kind::Token),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                Kind::Refused,
            ),
            (Code::PermissionDenied, "etcdserver: permission denied", Kind::Refused),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                Kind::Compacted,
            ),
            (Code::NotFound, "etcdserver: requested lease not found", Kind::NoLease),
            (Code::FailedPrecondition, "etcdserver: lease already exists", Kind::LeaseExists),
            (Code::InvalidArgument, "etcdserver: key is not provided", Kind::Other),
            (Code::Unknown, "of the server", Kind::Other),
        ];
        for (code, message, kind) in cases {
            let failure = Failure::from(Error::GRpcStatus(Status::new(code, message)));
            assert_eq!(failure, Failure::new(kind, message));
        }
    }

    #[test]
    fn a_broken_connection_is_no_answer() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let failure = Failure::from(Error::GRpcStatus(Status::from_error(broken.into())));
        assert_eq!(failure, Failure::new(Kind::Unreachable, "broken pipe"));
    }

    #[test]
    fn who_asked_is_told_what_was_refused() {
        let failure = Failure::new(Kind::Refused, "etcdserver: permission denied");
        let error = failure.error("etcd http://a:1: user \"sierra\": writing /neti/members/sierra");
        assert!(
            matches!(&error, RegistryError::Refused(text) if *text == "etcd http://a:1: user \
            \"sierra\": writing /neti/members/sierra: etcdserver: permission denied"),
            "{error}"
        );
    }
}
