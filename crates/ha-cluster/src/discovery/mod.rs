//! Other nodes are found through the seeds.
//!
//! [`Discovery`] is a pure core: it says which names to look up and which addresses to greet, and is told what came of
//! it. A slow or failing lookup, or an address where nobody answers, holds nothing else up. It never ends: a member
//! still greets the seeds from time to time, so that two clusters that formed apart hear of one another.

mod core;
mod lookup;
mod pace;
mod place;
mod report;
mod seed;

pub use core::{Discovery, Input, Output};
pub use lookup::{LOOKUP_DEADLINE, lookup};
pub use pace::Config;
pub use place::Greeting;
pub use report::{AddressReport, Behind, Listed, SeedReport};
pub use seed::SeedError;

#[cfg(test)]
mod tests;
