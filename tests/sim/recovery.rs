//! Forced recovery: one node goes on without the others, and these set their data aside when they come back.

use super::{Name, World, secs};

/// How long an order may take that asks nobody else.
const ORDERED_WITHIN: std::time::Duration = secs(5);

impl World {
    /// A person who has stopped all others orders a node to go on without them, and starts it again.
    ///
    /// # Panics
    ///
    /// When another node runs, or this one refuses.
    pub fn go_on_alone(&mut self, name: Name) {
        let others: Vec<Name> = self.names().into_iter().filter(|other| *other != name).collect();
        assert!(others.iter().all(|other| !self.runs(*other)), "somebody else runs");
        let ordered = self.order_with(name, "go on alone", |handles| async move {
            handles.cluster.go_on_alone().await.map_err(|error| error.to_string())
        });
        self.expect_result(&ordered, ORDERED_WITHIN).expect("it may");
        for other in others {
            self.seen.entry(other).or_default().left_behind = true;
        }
        self.judge(|judge, moment| {
            judge.forked(moment, name);
            Ok(())
        });
        self.kill(name);
        self.restart(name);
    }

    /// A node that was left behind hears of it, ends by itself, and is started on what is as good as an empty disk.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub fn expect_anew(&mut self, name: Name, limit: std::time::Duration) {
        self.expect(&format!("{name} gives way"), limit, |world| !world.runs(name));
        let seen = self.seen.entry(name).or_default();
        seen.disk += 1;
        seen.left_behind = false;
        self.restart(name);
    }
}
