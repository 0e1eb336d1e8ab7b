//! The suites that every wire and every disk must pass, on simulated hosts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ha_cluster::disk::conformance as disk;
use ha_net::wire::conformance as wire;

use super::disk::Honesty;
use super::network::Machine;
use super::{Name, Network, SimDisk, SimWire, Trace};

fn simulation(seed: u64) -> turmoil::Sim<'static> {
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(seed).tcp_capacity(65_536).max_message_latency(Duration::from_millis(5));
    builder.simulation_duration(Duration::from_secs(600)).build()
}

#[test]
fn the_simulated_wire_conforms() {
    let network = Network::new(1);
    network.set_machine(Name(1), Machine::Up);
    let wire = Arc::new(SimWire::new(Name(1), network));
    let setup = wire::Setup {
        dialling: wire.clone(),
        listening: wire,
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        host: Name(1).to_string(),
    };
    let mut simulation = simulation(1);
    // The suite holds both ends in one hand, so they are on one host; scenes have them on different ones.
    simulation.client(Name(1).to_string(), async move {
        wire::check(&setup).await;
        Ok(())
    });
    simulation.run().unwrap();
}

#[test]
fn the_simulated_disk_conforms() {
    let mut simulation = simulation(2);
    simulation.client("host", async {
        let disk = SimDisk::new(Trace::default(), Honesty::Honest);
        disk::check(Arc::new(disk), Path::new("/data")).await;
        Ok(())
    });
    simulation.run().unwrap();
}
