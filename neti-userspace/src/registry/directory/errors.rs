//! Which errors of the file system are an outage of the registry.

use std::{io, path::Path};

use anyhow::Error;
use nix::errno::Errno;

use crate::{fleet::FleetError, registry::RegistryError};

/// Whether the file system itself does not do its work, so that nothing is known of its files.
pub fn is_outage(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|errno| OUTAGES.contains(&Errno::from_raw(errno)))
}

/// What the disk, the server of a network file system, or the process behind one in user space
/// leaves undone.
const OUTAGES: [Errno; 14] = [
    Errno::EIO,
    Errno::EREMOTEIO,
    Errno::ESTALE,
    Errno::ETIMEDOUT,
    Errno::ENODEV,
    Errno::ENXIO,
    Errno::ENOTCONN,
    Errno::ECONNREFUSED,
    Errno::ECONNRESET,
    Errno::ECONNABORTED,
    Errno::EHOSTDOWN,
    Errno::EHOSTUNREACH,
    Errno::ENETDOWN,
    Errno::ENETUNREACH,
];

/// Fails where there is no directory `root`, as where it is not mounted.
pub fn check(root: &Path) -> Result<(), RegistryError> {
    let metadata = std::fs::metadata(root);
    let missing = || {
        RegistryError::Refused(format!(
            "{}: no such directory; make it and put the fleet's settings into it, or mount it",
            root.display()
        ))
    };
    match metadata {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(missing()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
        Err(error) => Err(classify(Error::new(error).context(root.display().to_string()))),
    }
}

/// What an error is to who asked the registry.
pub fn classify(error: Error) -> RegistryError {
    let error = match error.downcast::<RegistryError>() {
        Ok(error) => return error,
        Err(error) => error,
    };
    let error = match error.downcast::<FleetError>() {
        Ok(error) => return error.into(),
        Err(error) => error,
    };
    let is = |right: fn(&io::Error) -> bool| error.chain().filter_map(io_error).any(|e| right(&e));
    if is(is_outage) {
        RegistryError::Unreachable(format!(
            "{error:#}; the file system of the registry must work, and be mounted"
        ))
    } else if is(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        RegistryError::Refused(format!(
            "{error:#}; neti's user must be permitted to do this to the registry"
        ))
    } else {
        RegistryError::Other(error)
    }
}

/// An error of a system call, whichever crate wraps it.
fn io_error(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let again = |error: &io::Error| match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => error.kind().into(),
    };
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(again(error));
    }
    if let Some(notify::Error { kind: notify::ErrorKind::Io(error), .. }) = error.downcast_ref() {
        return Some(again(error));
    }
    error.downcast_ref::<Errno>().map(|errno| io::Error::from_raw_os_error(*errno as i32))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn who_does_not_do_its_work_is_away_and_who_forbids_refuses() {
        let io = |errno| Error::new(io::Error::from_raw_os_error(errno as i32)).context("a file");
        for errno in [Errno::EIO, Errno::ESTALE, Errno::ETIMEDOUT, Errno::ENOTCONN] {
            for error in [io(errno), Err::<(), _>(errno).context("a file").unwrap_err()] {
                let error = classify(error);
                assert!(matches!(error, RegistryError::Unreachable(_)), "{error:?}");
                assert!(error.to_string().starts_with("a file: "), "{error}");
            }
        }
        for errno in [Errno::EACCES, Errno::EPERM] {
            assert!(matches!(classify(io(errno)), RegistryError::Refused(_)), "{errno}");
        }
        for errno in [Errno::ENOENT, Errno::ENOSPC, Errno::EROFS] {
            assert!(matches!(classify(io(errno)), RegistryError::Other(_)), "{errno}");
        }
        let watch = notify::Error::io(io::Error::from_raw_os_error(Errno::ESTALE as i32));
        assert!(matches!(classify(Error::new(watch)), RegistryError::Unreachable(_)));
        let changed = classify(RegistryError::Changed("by whom".to_owned()).into());
        assert!(matches!(changed, RegistryError::Changed(_)));
    }
}
