//! One module per subcommand.

pub mod check;
pub mod down;
pub mod fleet;
mod installed;
pub mod run;
pub mod show;
