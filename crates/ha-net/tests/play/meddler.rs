//! A man in the middle, who forwards bytes, cuts them off, or adds some of his own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_net::Address;
use ha_net::wire::memory::MemoryNetwork;
use ha_net::wire::{Socket, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::sleep;

type Adding = mpsc::UnboundedSender<Vec<u8>>;
/// Last bytes for the dialling side, and what to do when they are out and the connection is closed.
type Closing = mpsc::UnboundedSender<(Vec<u8>, Box<dyn FnOnce() + Send>)>;

/// Listens on the host `middle`, and dials the target for each connection that comes. When that fails, it drops the
/// connection and listens no more.
pub struct Meddler {
    pub address: Address,
    /// Bytes that still pass from the dialling side; then the connection is closed.
    pub passes: Arc<AtomicUsize>,
    /// How to add bytes to the newest connection: towards the target, and towards the dialling side.
    adding: Arc<Mutex<Option<(Adding, Adding, Closing)>>>,
}

impl Meddler {
    pub async fn start(network: &MemoryNetwork, target: &Address) -> Self {
        Self::start_slow(network, target, Duration::ZERO).await
    }

    /// Pauses after every few KiB towards the target.
    pub async fn start_slow(network: &MemoryNetwork, target: &Address, pause: Duration) -> Self {
        let wire = network.host("middle");
        let mut listener = wire.listen(SocketAddr::from(([0, 0, 0, 0], 0))).await.unwrap();
        let address = Address::new("middle", listener.local_addr().unwrap().port()).unwrap();
        let passes = Arc::new(AtomicUsize::new(usize::MAX));
        let adding = Arc::new(Mutex::new(None));
        let this = Self { address, passes: Arc::clone(&passes), adding: Arc::clone(&adding) };
        let target = target.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = wire.dial(&target).await else { return };
                let (to_target, forward) = mpsc::unbounded_channel();
                let (to_dialler, back) = mpsc::unbounded_channel();
                let (closing, mut closed) = mpsc::unbounded_channel();
                *adding.lock().unwrap() = Some((to_target, to_dialler, closing));
                let passes = Arc::clone(&passes);
                tokio::spawn(async move {
                    let mut near = near;
                    let last = tokio::select! {
                        () = meddle(&mut near, far, passes, pause, forward, back) => None,
                        last = closed.recv() => last,
                    };
                    if let Some((bytes, then)) = last {
                        near.write_all(&bytes).await.unwrap();
                        drop(near);
                        then();
                    }
                });
            }
        });
        this
    }

    pub fn add_to_target(&self, bytes: Vec<u8>) {
        self.adding.lock().unwrap().as_ref().unwrap().0.send(bytes).unwrap();
    }

    /// Sends last bytes to the dialling side and closes the connection, all before that side can run.
    pub fn close_with(&self, bytes: Vec<u8>, then: impl FnOnce() + Send + 'static) {
        self.adding
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .2
            .send((bytes, Box::new(then)))
            .unwrap_or_else(|_| panic!("closed"));
    }

    pub fn add_to_dialler(&self, bytes: Vec<u8>) {
        self.adding.lock().unwrap().as_ref().unwrap().1.send(bytes).unwrap();
    }
}

async fn meddle(
    near: &mut Box<dyn Socket>,
    mut far: Box<dyn Socket>,
    passes: Arc<AtomicUsize>,
    pause: Duration,
    mut forward: mpsc::UnboundedReceiver<Vec<u8>>,
    mut back: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    let (mut one, mut other) = ([0; 4096], [0; 4096]);
    loop {
        tokio::select! {
            biased;
            Some(bytes) = forward.recv() => {
                if far.write_all(&bytes).await.is_err() { return }
            }
            Some(bytes) = back.recv() => {
                if near.write_all(&bytes).await.is_err() { return }
            }
            Ok(count) = far.read(&mut other) => {
                if near.write_all(&other[..count]).await.is_err() || count == 0 { return }
            }
            Ok(count) = near.read(&mut one) => {
                let passing = count.min(passes.load(Ordering::SeqCst));
                if passes.load(Ordering::SeqCst) != usize::MAX {
                    passes.fetch_sub(passing, Ordering::SeqCst);
                }
                if far.write_all(&one[..passing]).await.is_err() || passing < count || count == 0 { return }
                if !pause.is_zero() { sleep(pause).await }
            }
            else => return,
        }
    }
}
