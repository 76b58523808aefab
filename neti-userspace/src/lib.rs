//! The neti daemon and command.
