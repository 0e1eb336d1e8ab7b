//! Answers what other copies ask.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use ha_cluster::disk::perform;
use ha_cluster::{Answer, NodeId, encoding};

use crate::message::{Ask, Found, Told};
use crate::remote::Remote;
use crate::replication::{Inner, Replication};
use crate::{Record, fetch};

/// Answers for this node, as long as it serves.
pub(crate) fn server(inner: Weak<Inner>) -> impl Fn(NodeId, Bytes) -> Answer + Send + Sync + 'static {
    move |_, body| {
        let inner = inner.clone();
        Box::pin(async move {
            let inner = inner.upgrade().ok_or("this node is stopping")?;
            let ask = encoding::decode::<Ask>(&body).map_err(|error| error.to_string())?;
            let told = answer(inner, ask).await?;
            encoding::encode(&told).map(Into::into).map_err(|error| error.to_string())
        })
    }
}

async fn answer(inner: Arc<Inner>, ask: Ask) -> Result<Told, String> {
    Ok(match ask {
        Ask::Held { index, level } => Told::Held(inner.gate.here(level, index).await),
        Ask::Report => Told::Report(inner.copy.report()),
        Ask::Changes { after, upto, anew, limit, bytes_max } => {
            let copy = inner.copy.clone();
            let page = async move { fetch::page(&copy, after, upto, anew, limit, bytes_max) };
            Told::Changes(perform(&inner.disk, "fetch", page).await.map_err(|error| error.to_string())?)
        }
        Ask::Status => {
            let status = Remote::status_here(&inner).await;
            Told::Status(serde_json::to_vec(&status).map_err(|error| error.to_string())?)
        }
        Ask::Get { key, level } => {
            let here = complete(inner)?.with_consistency(level);
            let found = here.get(key.data_type(), key.data_id()).await;
            Told::Records(found.map(|found| found.into_iter().map(told).collect()).map_err(|error| error.to_string()))
        }
        Ask::List { data_type, after, limit, level } => {
            let here = complete(inner)?.with_consistency(level);
            let after = after.as_ref().map(crate::Key::data_id);
            let found = here.list(&data_type, after, limit as usize).await;
            Told::Records(found.map(|found| found.into_iter().map(told).collect()).map_err(|error| error.to_string()))
        }
        Ask::Imported { source } => {
            let imported = complete(inner)?.imported_here(&source).await;
            Told::Imported(imported.map_err(|error| error.to_string()))
        }
    })
}

/// A copy that does not pass the question on.
fn complete(inner: Arc<Inner>) -> Result<Replication, String> {
    if inner.copy.is_complete() {
        Ok(Replication::shared(inner))
    } else {
        Err("this copy is not complete either".to_owned())
    }
}

fn told(Record { key, version, data }: Record) -> Found {
    Found { key, version, data }
}
