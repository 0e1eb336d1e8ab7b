//! Asks a node over HTTP.

mod address;
mod connection;
mod events;
mod path;

use std::future::Future;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use address::NodeUrl;
pub(crate) use events::EventStream;
pub(crate) use path::{segment, segments};

use crate::answers::Refused;
use crate::failure::Failure;

/// How long a node may take to answer a question: longer than the node itself waits for a quorum, so that it is the node
/// that says why there is no answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// How long a node may take to carry out a change: longer than the node itself gives it.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(65);

/// How long something large may be on its way, and a node may read all it has.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(600);

/// Longest answer that is read: a page of 5 MiB of values has up to six times as many bytes as JSON, when each is an
/// escape.
const ANSWER_BYTES_MAX: usize = 40 * 1024 * 1024;

/// Which node is asked, and how the answer is shown: the same for every command that asks.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// Where the node speaks HTTP.
    #[arg(long, env = "HA_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(crate) url: NodeUrl,

    /// The bearer token of the node.
    #[arg(long, env = "HA_HTTP_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A node to ask.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    url: NodeUrl,
    token: Option<String>,
}

/// What is sent with a request.
pub(crate) enum Content {
    Nothing,
    Json(Bytes),
    Bytes(Bytes),
}

/// What a node answered.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Client {
    pub(crate) fn new(args: &ClientArgs) -> Self {
        // An empty variable is how scripts say that there is none.
        let token = args.token.clone().filter(|token| !token.is_empty());
        Self { url: args.url.clone(), token }
    }

    /// Asks; any status is an answer.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.in_time(ANSWER_TIME_MAX, self.call(Method::GET, path, Content::Nothing, None)).await
    }

    /// Asks for a change; any status is an answer.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.change(Method::POST, path, Some(body), None).await
    }

    /// Asks for a change by any method, under a name by which a repetition is known, if there is one.
    pub(crate) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        request: Option<&str>,
    ) -> Result<Answer, Failure> {
        self.change_within(CHANGE_TIME_MAX, method, path, body, request).await
    }

    /// As [`Self::change`], for what takes a node as long as it has records.
    pub(crate) async fn change_slowly(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        self.change_within(TRANSFER_TIME_MAX, method, path, body, None).await
    }

    /// As [`Self::change`], for a caller to whom an answer after that time is of no use.
    pub(crate) async fn change_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Option<&Value>,
        request: Option<&str>,
    ) -> Result<Answer, Failure> {
        let body = body.map_or(Content::Nothing, |body| Content::Json(body.to_string().into()));
        self.in_time(limit, self.call(method, path, body, request)).await
    }

    /// Puts JSON as it is written.
    pub(crate) async fn put(&self, path: &str, json: String) -> Result<Answer, Failure> {
        self.in_time(CHANGE_TIME_MAX, self.call(Method::PUT, path, Content::Json(json.into()), None)).await
    }

    /// As [`Self::get`], for what takes a node as long as it has records.
    pub(crate) async fn get_slowly(&self, path: &str) -> Result<Answer, Failure> {
        self.in_time(TRANSFER_TIME_MAX, self.call(Method::GET, path, Content::Nothing, None)).await
    }

    /// Asks for something large.
    pub(crate) async fn download(&self, path: &str, bytes_max: usize) -> Result<Bytes, Failure> {
        let work = async {
            let response = connection::send(self, Method::GET, path, Content::Nothing, None).await?;
            let status = response.status();
            if !status.is_success() {
                return Err(Answer { status, body: self.read(response.into_body(), ANSWER_BYTES_MAX).await? }.refusal());
            }
            self.read(response.into_body(), bytes_max).await
        };
        self.in_time(TRANSFER_TIME_MAX, work).await
    }

    /// Sends something large.
    pub(crate) async fn upload(&self, path: &str, bytes: Bytes) -> Result<Answer, Failure> {
        self.in_time(TRANSFER_TIME_MAX, self.call(Method::POST, path, Content::Bytes(bytes), None)).await
    }

    /// Follows an event stream.
    pub(crate) async fn follow(&self, path: &str) -> Result<EventStream, Failure> {
        let response =
            self.in_time(ANSWER_TIME_MAX, connection::send(self, Method::GET, path, Content::Nothing, None)).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(EventStream::new(self.url.clone(), response.into_body()));
        }
        let body = self.in_time(ANSWER_TIME_MAX, self.read(response.into_body(), ANSWER_BYTES_MAX)).await?;
        Err(Answer { status, body }.refusal())
    }

    async fn call(&self, method: Method, path: &str, body: Content, name: Option<&str>) -> Result<Answer, Failure> {
        let response = connection::send(self, method, path, body, name).await?;
        Ok(Answer { status: response.status(), body: self.read(response.into_body(), ANSWER_BYTES_MAX).await? })
    }

    async fn read(&self, body: hyper::body::Incoming, bytes_max: usize) -> Result<Bytes, Failure> {
        match Limited::new(body, bytes_max).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(Failure::failed(format_args!("the answer of {} broke off: {error}", self.url))),
        }
    }

    async fn in_time<T>(&self, limit: Duration, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Failure::failed(format_args!("{} did not answer within {:.0} seconds", self.url, limit.as_secs_f64())))
        })
    }
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of a success, or the reason of the refusal.
    pub(crate) fn success<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.status.is_success() { self.read() } else { Err(self.refusal()) }
    }

    /// The body of a success as it came. It is JSON; what numbers and texts in it mean is not looked at.
    pub(crate) fn json(&self) -> Result<&[u8], Failure> {
        self.success::<Box<RawValue>>()?;
        Ok(&self.body)
    }

    /// The body, whatever the status.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::failed(format_args!("the answer is not that of a node of ha ({}): {error}", self.status))
        })
    }

    /// Why it was refused, for programs; nothing when it was not, or nobody says.
    pub(crate) fn code(&self) -> String {
        serde_json::from_slice::<Refused>(&self.body).map(|refused| refused.error.code).unwrap_or_default()
    }

    pub(crate) fn refusal(&self) -> Failure {
        match serde_json::from_slice::<Refused>(&self.body) {
            Ok(refused) => Failure::failed(refused.error.message),
            Err(_) => Failure::failed(format_args!("the node answered {}", self.status)),
        }
    }
}
