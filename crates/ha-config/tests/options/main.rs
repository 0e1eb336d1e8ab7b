//! Every option of the contract, from text to value.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cases;
mod contract;
mod contradictions;
mod environment;
mod guide;
mod mistakes;
mod precedence;
mod random;
mod secrets;
mod warnings;
