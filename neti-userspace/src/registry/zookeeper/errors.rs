//! What the client's errors mean to those who ask a registry.

use anyhow::anyhow;
use zookeeper_client::Error;

use crate::registry::RegistryError;

/// What became of a question about `place`, which names the registry and the node; `user` is who
/// asked.
pub fn explain(place: &str, user: &str, error: Error) -> RegistryError {
    match error {
        Error::NoAuth => RegistryError::Refused(format!(
            "{place}: {user} is not permitted this; the node's ACL or its parent's must allow it"
        )),
        Error::AuthFailed => {
            RegistryError::Refused(format!("{place}: the server does not take {user}"))
        }
        Error::InvalidAcl => RegistryError::Refused(format!(
            "{place}: the server does not know {user}, so that no node can be ours alone"
        )),
        Error::BadVersion => RegistryError::Changed(format!(
            "{place}: somebody else has changed it in the meantime; look at it and try again"
        )),
        error if is_outage(&error) => RegistryError::Unreachable(format!("{place}: {error}")),
        error => RegistryError::Other(anyhow!("{place}: {error}")),
    }
}

/// Whether the same may succeed with another session or later.
fn is_outage(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionLoss
            | Error::Timeout
            | Error::NoHosts
            | Error::SessionExpired
            | Error::SessionMoved
            | Error::ClientClosed
            | Error::NotReadOnly
            | Error::Throttled
            | Error::QuotaExceeded
            | Error::RuntimeInconsistent
            | Error::MarshallingError
            | Error::UnexpectedErrorCode(_)
            // The operating system's, from a connection.
            | Error::Custom(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_and_name_the_place() {
        let explain = |error| explain("zookeeper a:1: /neti/fleet", "user \"host\"", error);
        let text = |error| explain(error).to_string();
        assert!(matches!(explain(Error::ConnectionLoss), RegistryError::Unreachable(_)));
        assert!(matches!(explain(Error::NoHosts), RegistryError::Unreachable(_)));
        assert!(matches!(explain(Error::NoAuth), RegistryError::Refused(_)));
        assert!(matches!(explain(Error::AuthFailed), RegistryError::Refused(_)));
        assert!(matches!(explain(Error::BadVersion), RegistryError::Changed(_)));
        assert!(matches!(explain(Error::QuotaExceeded), RegistryError::Unreachable(_)));
        assert!(matches!(explain(Error::NoNode), RegistryError::Other(_)));
        assert!(
            text(Error::NoAuth).starts_with("zookeeper a:1: /neti/fleet: user \"host\" is not")
        );
        assert_eq!(text(Error::NoNode), "zookeeper a:1: /neti/fleet: node not exists");
    }
}
