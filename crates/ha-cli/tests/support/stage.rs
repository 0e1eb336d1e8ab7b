//! A real node of a cluster of one, served, and the program that asks it.

use std::process::Command;

use ha_http::Server;
use ha_runtime::Ha;
use tempfile::TempDir;

use super::{Ended, PATIENCE, end, ha};

pub struct Stage {
    pub ha: Ha,
    pub server: Server,
    pub runtime: tokio::runtime::Runtime,
    pub folder: TempDir,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(options: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("data");
        let mut config = ha_config::Config::builder();
        let own = [
            ("HA_PRESET", "development"),
            ("HA_PROFILE", "lan"),
            ("CLUSTER_ADDRESS", "127.0.0.1"),
            ("CLUSTER_PORT", "0"),
            ("HA_DATA_DIR", directory.to_str().unwrap()),
        ];
        for (option, value) in own.iter().chain(options) {
            config = config.set(*option, *value);
        }
        let (ha, server) = runtime.block_on(async {
            let ha = ha_runtime::start(config.build().unwrap()).await.unwrap();
            let mut view = ha.cluster().watch();
            tokio::time::timeout(PATIENCE, view.wait_for(|view| view.leader_is_live)).await.unwrap().unwrap();
            let config = ha_http::Config { listen: ([127, 0, 0, 1], 0).into(), ..ha_http::Config::default() };
            let server = ha_http::listen(config).await.unwrap().serve(ha.clone());
            (ha, server)
        });
        Self { ha, server, runtime, folder }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ha(arguments);
        command.env("HA_URL", format!("http://{}", self.server.local_addr()));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    pub fn ask(&self, arguments: &[&str]) -> Ended {
        end(self.command(arguments))
    }

    /// What it prints when it does what is asked.
    pub fn out(&self, arguments: &[&str]) -> String {
        let ended = self.ask(arguments);
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{arguments:?}");
        ended.out
    }
}
