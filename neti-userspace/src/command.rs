//! One module per subcommand.

pub mod check;
pub mod down;
mod installed;
pub mod run;
pub mod show;
