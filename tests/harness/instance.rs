//! Names that say which process made something, so that what a killed one left can be told and removed.

use std::{
    env, fs, io,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tempfile::TempDir;

use crate::host::{PINS, RUN, STATE};

/// What the names of fleets' directories begin with, under the directory for temporary files.
pub(crate) const FLEETS: &str = "neti-fleet-";
/// The same of registry servers' directories.
const SERVERS: &str = "neti-server-";
/// What the names of instances begin with.
const INSTANCES: &str = "t";

/// An instance name that says which process made it, so that [`sweep`] can tell whose it was.
pub fn fresh_instance() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{INSTANCES}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A directory for a registry server's files, removed with its owner.
pub(crate) fn server_directory() -> io::Result<TempDir> {
    sweep();
    tempfile::Builder::new().prefix(&format!("{SERVERS}{}-", std::process::id())).tempdir()
}

/// Removes pins and files of test processes that were killed before they could. Once per process.
pub(crate) fn sweep() {
    static SWEPT: OnceLock<()> = OnceLock::new();
    SWEPT.get_or_init(|| {
        let temporary = env::temp_dir();
        let instances: &[&str] = &[INSTANCES];
        // Under the directory for temporary files anybody may have something that begins with so little.
        let places = [
            (Path::new(PINS), instances),
            (Path::new(RUN), instances),
            (Path::new(STATE), instances),
            (&*temporary, &[FLEETS, SERVERS]),
            // Where the benchmark keeps large fleets.
            (Path::new("/dev/shm"), &[FLEETS, SERVERS]),
        ];
        for (directory, prefixes) in places {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let pid = name.to_str().and_then(|name| owner(name, prefixes));
                if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                    // Another test process may be sweeping too; what is gone is gone.
                    let _ =
                        fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
                }
            }
        }
    });
}

/// The process in a name that begins with one of these: an instance's ([`fresh_instance`]), or that of a fleet's or a
/// server's directory.
fn owner(name: &str, prefixes: &[&str]) -> Option<u32> {
    let rest = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    rest.split_once('-')?.0.parse().ok()
}
