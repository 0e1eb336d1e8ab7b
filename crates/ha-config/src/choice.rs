//! Options whose value is one of a few words.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A text that is not one of the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAChoice;

impl fmt::Display for NotAChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not one of the words")
    }
}

impl std::error::Error for NotAChoice {}

macro_rules! choices {
    ($( $(#[doc = $doc:literal])+ $Choice:ident { $( $(#[doc = $word_doc:literal])+ $Word:ident = $word:literal, )+ } )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Choice { $( $(#[doc = $word_doc])+ $Word, )+ }

        impl $Choice {
            /// All of them, in the order of the guide.
            pub const ALL: &[Self] = &[$( Self::$Word ),+];

            /// The word that stands for it in text.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$Word => $word, )+ }
            }
        }

        impl FromStr for $Choice {
            type Err = NotAChoice;

            fn from_str(text: &str) -> Result<Self, NotAChoice> {
                Self::ALL.iter().copied().find(|choice| choice.as_str() == text).ok_or(NotAChoice)
            }
        }

        impl fmt::Display for $Choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $Choice {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl $crate::setting::Choice for $Choice {
            fn words() -> Vec<&'static str> {
                Self::ALL.iter().map(|choice| choice.as_str()).collect()
            }
        }
    )+ };
}

choices! {
    /// A starting point for all options.
    Preset {
        /// One node, to try things out.
        Development = "development",
        /// Two nodes, or two and a witness, of which one serves.
        SimpleFailover = "simple_failover",
        /// Three nodes or more, and everything on.
        FullHa = "full_ha",
        /// Five nodes or more, and all of them write.
        Distributed = "distributed",
    }

    /// Settings for one purpose, laid over a preset.
    Profile {
        /// Failures are noticed sooner.
        LowLatency = "low_latency",
        /// Larger batches, more connections.
        HighThroughput = "high_throughput",
        /// Fast writes that may be lost in a crash.
        Eventual = "eventual",
        /// Timers for one machine room.
        Lan = "lan",
    }

    /// How work is spread over the nodes.
    Strategy {
        /// One node serves, the others stand by.
        ActivePassive = "active_passive",
        /// Every node serves; each shard has one owner.
        ActiveActive = "active_active",
        /// Many groups, spread over the nodes.
        Distributed = "distributed",
    }

    /// What a node contributes.
    Role {
        /// Votes, leads, keeps data.
        Member = "member",
        /// Votes, keeps no application data.
        Witness = "witness",
    }

    /// Who starts a failover.
    FailoverMode {
        /// The cluster does, when the primary has failed.
        Automatic = "automatic",
        /// A person does.
        Manual = "manual",
    }

    /// Who returns the primary to the highest priority.
    Failback {
        /// A person does.
        Manual = "manual",
        /// The cluster does, when the recovered node has stayed healthy.
        Automatic = "automatic",
    }

    /// Which nodes take writes.
    ReplicationMode {
        /// One does.
        MasterSlave = "master_slave",
        /// All do.
        MultiMaster = "multi_master",
    }

    /// When a write is acknowledged.
    Consistency {
        /// When every member of the sync set has it on disk.
        Strong = "strong",
        /// When a quorum of data copies has it on disk.
        Quorum = "quorum",
        /// When this node has it.
        Eventual = "eventual",
    }
}
