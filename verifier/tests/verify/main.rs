//! The verifier from outside.

#![allow(clippy::expect_used, reason = "in tests a broken expectation is the report")]

mod corpus;
mod framework;
mod mutations;
mod rules;
mod support;
