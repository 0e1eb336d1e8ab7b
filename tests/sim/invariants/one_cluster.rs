//! Exactly one cluster forms, ever.

use super::{Invariant, Moment};
use crate::sim::Name;

/// Remembers the first cluster id that anybody had.
#[derive(Default)]
pub struct OneCluster {
    formed: Option<(Name, u128)>,
}

impl Invariant for OneCluster {
    fn claim(&self) -> &'static str {
        "one cluster forms and no other"
    }

    fn check(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen) in moment.nodes {
            let Some(cluster) = seen.cluster else { continue };
            let (first, formed) = *self.formed.get_or_insert((*name, cluster));
            if formed != cluster {
                return Err(format!("{first} belongs to cluster {formed:032x}, {name} to {cluster:032x}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn a_second_cluster_is_noticed() {
        let (mut story, mut judge) = (Story::new(3), OneCluster::default());
        story.node(3).cluster = None;
        story.pass(0.1, &mut judge).unwrap();
        story.node(3).cluster = Some(8);
        assert!(story.pass(0.1, &mut judge).is_err());
    }
}
