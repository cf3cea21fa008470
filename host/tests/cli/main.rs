//! The `corten` command, from outside.

#![allow(clippy::expect_used, reason = "in tests a broken expectation is the report")]

mod bad_input;
mod flags;
mod framework;
mod inspect;
mod support;
mod switches;
mod verify;
