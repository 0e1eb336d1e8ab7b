//! What every wire must do. An implementation runs [`check`] in a test of its own.
//!
//! It panics where a wire does not conform, as a test does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Listener, Socket, Wire};
use crate::Address;

/// How to reach a listener of the wire under test.
pub struct Setup {
    /// The wire of the dialling side.
    pub dialling: Arc<dyn Wire>,
    /// The wire of the listening side; often the same one.
    pub listening: Arc<dyn Wire>,
    /// Where to listen: port 0, so that each check gets a free one.
    pub listen: SocketAddr,
    /// The host under which the dialling side finds the listening one.
    pub host: String,
}

/// No step of the suite takes this long on a wire that works.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs all checks.
pub async fn check(setup: &Setup) {
    a_listener_knows_its_port(setup).await;
    bytes_flow_in_both_directions(setup).await;
    many_bytes_arrive_in_order(setup).await;
    each_connection_is_its_own(setup).await;
    one_direction_can_end_before_the_other(setup).await;
    a_dropped_end_is_the_end_for_the_other(setup).await;
    a_dial_to_nobody_is_refused(setup).await;
    a_port_is_taken_once_and_free_again(setup).await;
    an_accept_that_is_given_up_loses_no_connection(setup).await;
    names_are_looked_up(setup).await;
}

async fn within<T>(step: &str, future: impl Future<Output = T>) -> T {
    match timeout(STEP_TIMEOUT, future).await {
        Ok(value) => value,
        Err(_) => panic!("{step} took longer than {STEP_TIMEOUT:?}"),
    }
}

fn good<T>(step: &str, result: io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{step} failed: {error}"))
}

impl Setup {
    async fn listener(&self) -> (Box<dyn Listener>, Address) {
        let listener = good("listening", within("listening", self.listening.listen(self.listen)).await);
        let port = good("asking for the port", listener.local_addr()).port();
        let address = Address::new(self.host.clone(), port).unwrap_or_else(|error| panic!("{error}"));
        (listener, address)
    }

    async fn connect(&self, listener: &mut Box<dyn Listener>, address: &Address) -> (Box<dyn Socket>, Box<dyn Socket>) {
        let (near, far) =
            within("connecting", async { tokio::join!(self.dialling.dial(address), listener.accept()) }).await;
        (good("dialling", near), good("accepting", far).0)
    }
}

async fn write(socket: &mut Box<dyn Socket>, bytes: &[u8]) {
    good("writing", within("writing", socket.write_all(bytes)).await);
    good("flushing", within("flushing", socket.flush()).await);
}

async fn expect(socket: &mut Box<dyn Socket>, bytes: &[u8]) {
    let mut found = vec![0; bytes.len()];
    good("reading", within("reading", socket.read_exact(&mut found)).await);
    assert!(found == bytes, "other bytes arrived than were sent");
}

async fn expect_end(socket: &mut Box<dyn Socket>) {
    assert_eq!(good("reading to the end", within("reading to the end", socket.read(&mut [0; 16])).await), 0);
}

async fn a_listener_knows_its_port(setup: &Setup) {
    let (listener, _) = setup.listener().await;
    assert_ne!(good("asking for the port", listener.local_addr()).port(), 0);
}

async fn bytes_flow_in_both_directions(setup: &Setup) {
    let (mut listener, address) = setup.listener().await;
    let (mut near, mut far) = setup.connect(&mut listener, &address).await;
    write(&mut near, b"there").await;
    expect(&mut far, b"there").await;
    write(&mut far, b"and back").await;
    expect(&mut near, b"and back").await;
}

async fn many_bytes_arrive_in_order(setup: &Setup) {
    const CHUNK_BYTES: usize = 10_007;
    let (mut listener, address) = setup.listener().await;
    let (mut near, mut far) = setup.connect(&mut listener, &address).await;
    let chunk = |number: u8| (0..CHUNK_BYTES).map(|at| (at as u8).wrapping_mul(31) ^ number).collect::<Vec<u8>>();
    let sender = async {
        for number in 0..100 {
            let bytes = chunk(number);
            let parts = [io::IoSlice::new(&bytes[..7]), io::IoSlice::new(&bytes[7..])];
            let sent = good("writing in parts", within("writing in parts", near.write_vectored(&parts)).await);
            write(&mut near, &bytes[sent..]).await;
        }
    };
    let receiver = async {
        for number in 0..100 {
            expect(&mut far, &chunk(number)).await;
        }
    };
    tokio::join!(sender, receiver);
}

async fn each_connection_is_its_own(setup: &Setup) {
    let (mut listener, address) = setup.listener().await;
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(setup.connect(&mut listener, &address).await);
    }
    for (number, (near, _)) in all.iter_mut().enumerate() {
        write(near, &[number as u8; 3]).await;
    }
    for (number, (_, far)) in all.iter_mut().enumerate().rev() {
        expect(far, &[number as u8; 3]).await;
    }
}

async fn one_direction_can_end_before_the_other(setup: &Setup) {
    let (mut listener, address) = setup.listener().await;
    let (mut near, mut far) = setup.connect(&mut listener, &address).await;
    write(&mut near, b"last").await;
    good("shutting down", within("shutting down", near.shutdown()).await);
    expect(&mut far, b"last").await;
    expect_end(&mut far).await;
    write(&mut far, b"still").await;
    expect(&mut near, b"still").await;
}

async fn a_dropped_end_is_the_end_for_the_other(setup: &Setup) {
    let (mut listener, address) = setup.listener().await;
    let (near, mut far) = setup.connect(&mut listener, &address).await;
    drop(near);
    expect_end(&mut far).await;
    let (mut near, far) = setup.connect(&mut listener, &address).await;
    drop(far);
    expect_end(&mut near).await;
}

async fn a_dial_to_nobody_is_refused(setup: &Setup) {
    let (listener, address) = setup.listener().await;
    drop(listener);
    let Err(error) = within("dialling nobody", setup.dialling.dial(&address)).await else {
        panic!("{address} answers although nobody listens there");
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
}

async fn a_port_is_taken_once_and_free_again(setup: &Setup) {
    let (listener, address) = setup.listener().await;
    let same = SocketAddr::new(setup.listen.ip(), address.port());
    let Err(error) = within("listening", setup.listening.listen(same)).await else {
        panic!("two listeners share port {}", address.port());
    };
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{error}");
    drop(listener);
    let mut again = good("listening again", within("listening again", setup.listening.listen(same)).await);
    let (mut near, mut far) = setup.connect(&mut again, &address).await;
    write(&mut near, b"again").await;
    expect(&mut far, b"again").await;
}

async fn an_accept_that_is_given_up_loses_no_connection(setup: &Setup) {
    let (mut listener, address) = setup.listener().await;
    assert!(timeout(Duration::from_millis(10), listener.accept()).await.is_err(), "somebody came unexpectedly");
    let (mut near, mut far) = setup.connect(&mut listener, &address).await;
    write(&mut near, b"here").await;
    expect(&mut far, b"here").await;
}

async fn names_are_looked_up(setup: &Setup) {
    let found = within("looking up", setup.dialling.lookup(&setup.host, 1234)).await;
    let found = good("looking up", found);
    assert!(!found.is_empty() && found.iter().all(|place| place.port() == 1234), "{found:?}");
}
