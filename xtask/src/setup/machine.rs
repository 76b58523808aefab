//! What this machine has.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    BPF_TOOLCHAIN,
    plan::{Extent, PYTHON, Probe, Tool},
};
use crate::run::answer;

/// A compiler that can build the kernel programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// Debian's, with its prebuilt core for the BPF target, linked as [`BPF_TOOLCHAIN`].
    Debian,
    /// rustup's nightly with rust-src, which builds core itself.
    Nightly,
}

/// What setup looks at.
#[derive(Clone, Debug)]
pub struct Machine {
    pub debian12: bool,
    pub root: bool,
    pub rustup: bool,
    pub compiler: Option<Compiler>,
    /// Debian's compiler and its core for the BPF target are installed, whether linked or not.
    pub debian_compiler: bool,
    /// The lints of the compiler in use (or about to be) are there.
    pub lints: bool,
    pub linker: bool,
    /// Which tools were looked for.
    pub extent: Extent,
    /// Those that are not there.
    pub missing: Vec<Tool>,
}

impl Machine {
    /// Looks at this machine, for tools of this extent.
    pub fn look(extent: Extent) -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let path = env::var_os("PATH").unwrap_or_default();
        let compiler = compiler();
        Self {
            debian12: is_debian12(&release),
            root: answer(Command::new("id").arg("-u")).as_deref() == Some("0"),
            rustup: on_path("rustup", &path),
            compiler,
            debian_compiler: has_core(Path::new("/usr/lib/rustlib/bpfel-unknown-none/lib"))
                && ["rustc", "cargo"].iter().all(|name| Path::new("/usr/bin").join(name).exists()),
            lints: match compiler {
                Some(Compiler::Nightly) => true,
                _ => Path::new("/usr/bin/clippy-driver").exists(),
            },
            // Run, not just found: it is linked with a library that may be gone.
            linker: answer(Command::new("bpf-linker").arg("--version")).is_some(),
            extent,
            missing: extent.tools().filter(|tool| !is_there(tool.probe, &path)).collect(),
        }
    }
}

/// The compiler for the kernel programs, chosen as neti-userspace/build.rs does.
pub fn compiler() -> Option<Compiler> {
    let ask = |toolchain: &str, question: &[&str]| {
        answer(Command::new("rustup").args(["run", toolchain, "rustc", "--print"]).args(question))
    };
    if ask(BPF_TOOLCHAIN, &["target-libdir", "--target", "bpfel-unknown-none"])
        .is_some_and(|directory| has_core(Path::new(&directory)))
    {
        return Some(Compiler::Debian);
    }
    let source = "lib/rustlib/src/rust/library/core/Cargo.toml";
    ask("nightly", &["sysroot"])
        .is_some_and(|sysroot| Path::new(&sysroot).join(source).exists())
        .then_some(Compiler::Nightly)
}

fn has_core(directory: &Path) -> bool {
    fs::read_dir(directory).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("libcore-")
    })
}

fn is_debian12(release: &str) -> bool {
    let is = |key: &str, wanted: &str| {
        release.lines().any(|line| {
            line.split_once('=').is_some_and(|(k, v)| k == key && v.trim_matches('"') == wanted)
        })
    };
    is("ID", "debian") && is("VERSION_ID", "12")
}

fn is_there(probe: Probe, path: &OsStr) -> bool {
    match probe {
        Probe::Program(program) => on_path(program, path),
        Probe::File(file) => Path::new(file).is_file(),
        Probe::Module(name) => {
            answer(Command::new(PYTHON).args(["-c", &format!("import {name}")])).is_some()
        }
    }
}

/// Looks in the `sbin`s too: a user's PATH often lacks them, root's has them.
fn on_path(program: &str, path: &OsStr) -> bool {
    env::split_paths(path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|directory| is_executable(&directory.join(program)))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_only_if_it_can_be_run() {
        let name = format!("neti-xtask-{}", std::process::id());
        let directory = env::temp_dir().join(&name);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(&name), "").unwrap();
        assert!(!on_path(&name, directory.as_os_str()), "a file that is not executable");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.join(&name), executable).unwrap();
        assert!(on_path(&name, directory.as_os_str()));
        assert!(!on_path(&name, OsStr::new("/nonexistent")));
        assert!(on_path("sh", OsStr::new("/usr/bin")));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn files_and_modules_are_found() {
        let is_there = |probe| is_there(probe, OsStr::new(""));
        assert!(is_there(Probe::File("/etc/os-release")));
        assert!(!is_there(Probe::File("/etc")), "a directory");
        assert!(!is_there(Probe::File("/nonexistent")));
        assert!(!is_there(Probe::Module("neti_has_no_such_module")));
        assert_eq!(is_there(Probe::Module("json.tool")), Path::new(PYTHON).exists());
    }

    #[test]
    fn debian_12_is_told_from_others() {
        assert!(is_debian12("NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n"));
        assert!(!is_debian12("VERSION_ID=\"13\"\nID=debian\n"));
        assert!(!is_debian12("VERSION_ID=\"12\"\nID=devuan\nID_LIKE=debian\n"));
        assert!(!is_debian12(""));
    }

    #[test]
    fn core_is_found_by_its_library() {
        assert!(!has_core(Path::new("/nonexistent")));
        assert!(!has_core(Path::new("/usr/bin")));
    }
}
