//! How far the stores of the machines are, and waiting for them.

use tokio::sync::watch;

use super::Host;

impl Host {
    /// The lowest log entry that every machine with a store of its own holds; `None` when none has one.
    pub(crate) fn durable_index(&self) -> Option<u64> {
        self.stores.values().map(|durable| *durable.borrow()).min()
    }

    /// Waits until every store holds this entry; false when this node stops before. Cancel-safe.
    pub(crate) async fn stored(&self, index: u64) -> bool {
        let stored = async {
            for durable in self.stores.values() {
                until(durable.clone(), || *durable.borrow() >= index).await;
            }
        };
        tokio::select! {
            biased;
            () = stored => true,
            () = self.stopping() => false,
        }
    }

    /// Waits until every store can take more; false when this node stops before. Cancel-safe.
    pub(crate) async fn room(&self) -> bool {
        for (id, durable) in &*self.stores {
            let Some(machine) = self.machines.get(id).filter(|machine| !machine.has_room()) else { continue };
            tokio::select! {
                biased;
                () = until(durable.clone(), || machine.has_room()) => {}
                () = self.stopping() => return false,
            }
        }
        true
    }

    /// Nothing waits for a store any longer: one that takes nothing, as on a full disk, would be waited for for ever.
    pub(crate) fn stop(&self) {
        self.told.stopping.send_replace(true);
    }

    /// Resolves once this node stops.
    pub(crate) async fn stopping(&self) {
        // The sender is there as long as this is.
        let _ = self.told.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// Waits until something is so that may become so whenever a store has written more.
async fn until(mut durable: watch::Receiver<u64>, is_so: impl Fn() -> bool) {
    loop {
        durable.borrow_and_update();
        if is_so() {
            return;
        }
        if durable.changed().await.is_err() {
            // A store that has ended is never going to.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use futures::FutureExt;

    use super::*;
    use crate::machine::{Applied, Capture, Machine, MachineId, Machines};

    /// A machine with a store of its own.
    struct Stored {
        durable: watch::Receiver<u64>,
        has_room: Arc<AtomicBool>,
        restored: Arc<Mutex<Vec<u8>>>,
    }

    impl Machine for Stored {
        const ID: MachineId = MachineId(9);
        const NAME: &'static str = "stored";
        type Command = ();
        type Reply = ();

        fn apply(&mut self, _: Applied, (): ()) {}

        fn capture(&self) -> Capture {
            Box::new(std::iter::once(b"state".to_vec()))
        }

        fn restore(&mut self, image: &[u8]) -> Result<(), String> {
            self.restored.lock().unwrap().extend(image);
            Ok(())
        }

        fn durable(&self) -> Option<watch::Receiver<u64>> {
            Some(self.durable.clone())
        }

        fn has_room(&self) -> bool {
            self.has_room.load(Ordering::Relaxed)
        }
    }

    struct Store {
        durable: watch::Sender<u64>,
        has_room: Arc<AtomicBool>,
        restored: Arc<Mutex<Vec<u8>>>,
    }

    fn host(witness: bool) -> (Host, Store) {
        let (durable, follow) = watch::channel(0);
        let store = Store { durable, has_room: Arc::default(), restored: Arc::default() };
        let (has_room, restored) = (store.has_room.clone(), store.restored.clone());
        (Host::new(Machines::new().with(Stored { durable: follow, has_room, restored }), witness), store)
    }

    #[tokio::test]
    async fn whoever_waits_for_a_store_goes_on_when_it_can_take_more_and_gives_up_when_the_node_stops() {
        let (host, store) = host(false);
        let (mut room, mut stored) = (Box::pin(host.room()), Box::pin(host.stored(3)));
        assert_eq!((room.as_mut().now_or_never(), stored.as_mut().now_or_never()), (None, None));
        store.has_room.store(true, Ordering::Relaxed);
        store.durable.send_replace(3);
        assert!(room.await && stored.await);

        store.has_room.store(false, Ordering::Relaxed);
        let (mut room, mut stored) = (Box::pin(host.room()), Box::pin(host.stored(4)));
        assert_eq!((room.as_mut().now_or_never(), stored.as_mut().now_or_never()), (None, None));
        host.stop();
        assert!(!room.await && !stored.await);
        assert!(host.stored(3).await, "what is there is there");
        drop(store.durable);
        assert!(!host.room().await && !host.stored(4).await, "also when the store has ended");
    }

    #[test]
    fn a_node_that_keeps_state_does_not_go_on_from_an_image_without_any() {
        let image = |host: Host| host.capture().pieces().collect::<Vec<Bytes>>().concat();
        let of_a_witness = image(host(true).0);
        let (data, store) = host(false);
        let refused = data.restore(&of_a_witness).unwrap_err();
        assert!(refused.to_string().contains("witness"), "{refused}");
        assert_eq!(data.check_image(&of_a_witness), Err(refused));
        let whole = image(host(false).0);
        assert_eq!((data.check_image(&whole), data.restore(&whole)), (Ok(()), Ok(())));
        assert_eq!(*store.restored.lock().unwrap(), b"state");
        for image in [&of_a_witness, &whole] {
            assert_eq!(host(true).0.restore(image), Ok(()), "a witness takes both");
        }
        assert_eq!(
            Host::new(Machines::new(), false).restore(&of_a_witness),
            Ok(()),
            "nothing is lost where nothing is"
        );
    }
}
