//! The frames of one greeting: sent, received, and noted for the proof of the secret.

use std::fmt::Display;
use std::io;

use bytes::BytesMut;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::GreetingError;
use crate::codec::frame::LENGTH_BYTES;
use crate::codec::hello::{self, Step, StepError, Versions};
use crate::connection::driver::Framed;
use crate::limits::HELLO_FRAME_BYTES_MAX;
use crate::secret::{Nonce, Part, Transcript};
use crate::wire::{Socket, tls};
use crate::{Address, NodeId, Refusal, RefusalCode};

/// One side of a greeting.
pub(super) struct Talk {
    pub(super) framed: Framed,
    versions: Versions,
    part: Part,
    guard: Option<Guard>,
}

/// How far the proof of the secret has come.
struct Guard {
    transcript: Transcript,
    /// Both nonces are out: from now on each step is followed by its sender's proof.
    sealed: bool,
}

/// A step of the other side.
pub(super) struct Heard {
    pub(super) versions: Versions,
    pub(super) step: Step,
    /// The other side has shown that it knows the secret; always true where there is none.
    pub(super) proved: bool,
}

impl Talk {
    pub(super) fn new(socket: Box<dyn Socket>, versions: Versions, part: Part, transcript: Option<Transcript>) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .length_field_length(LENGTH_BYTES)
            .max_frame_length(HELLO_FRAME_BYTES_MAX)
            .new_codec();
        let framed = FramedRead::with_capacity(socket, codec, 1024);
        let guard = transcript.map(|transcript| Guard { transcript, sealed: false });
        Self { framed, versions, part, guard }
    }

    /// Which side this is.
    pub(super) fn part(&self) -> Part {
        self.part
    }

    /// Says one step, and proves it where that is due.
    pub(super) async fn send(&mut self, step: &Step) -> Result<(), GreetingError> {
        let mut bytes = self.seal(step)?;
        if let Some(guard) = self.guard.as_ref().filter(|guard| guard.sealed) {
            let answer = guard.transcript.answer(self.part);
            bytes.extend(self.seal(&Step::Prove(answer))?);
        }
        let socket = self.framed.get_mut();
        socket.write_all(&bytes).await?;
        socket.flush().await?;
        Ok(())
    }

    fn seal(&mut self, step: &Step) -> Result<Vec<u8>, GreetingError> {
        let bytes = hello::seal(self.versions, step).map_err(malformed)?;
        if let Some(guard) = &mut self.guard {
            guard.transcript.note(self.part, bytes.get(LENGTH_BYTES..).unwrap_or_default());
        }
        Ok(bytes.into())
    }

    /// Waits for one step, and for its proof where that is due.
    pub(super) async fn receive(&mut self) -> Result<Result<Heard, StepError>, GreetingError> {
        let frame = self.next().await?;
        let (versions, step) = match hello::open(self.versions, &frame) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        self.note(&frame);
        let proved = match &self.guard {
            None => true,
            Some(Guard { sealed: false, .. }) => false,
            // Whatever else comes, the end included, proves nothing.
            Some(Guard { sealed: true, .. }) => self.hear_proof().await.unwrap_or(false),
        };
        Ok(Ok(Heard { versions, step, proved }))
    }

    /// Whether the next frame proves what was heard before it.
    async fn hear_proof(&mut self) -> Result<bool, GreetingError> {
        let frame = self.next().await?;
        let answer = match hello::open(self.versions, &frame) {
            Ok((_, Step::Prove(answer))) => answer,
            Ok(_) => return Err(malformed("no proof where one was due")),
            Err(error) => return Err(malformed(error)),
        };
        let part = self.part.other();
        let proved = self.guard.as_mut().is_some_and(|guard| guard.transcript.is_proved_by(part, &answer));
        self.note(&frame);
        Ok(proved)
    }

    async fn next(&mut self) -> Result<BytesMut, GreetingError> {
        match self.framed.next().await {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) if tls::refusal_of(&error).is_some() => Err(error.into()),
            Some(Err(_)) if tls::speaks_tls(self.framed.read_buffer()) => {
                let message = "the other side speaks TLS, and this node does not; \
                               set CLUSTER_TLS_CERT, CLUSTER_TLS_KEY and CLUSTER_TLS_CA on every node";
                let refusal = Refusal { code: RefusalCode::Secret, message: message.to_owned() };
                Err(GreetingError::Refused { refusal, node_id: None, by_peer: self.part == Part::Dialling })
            }
            Some(Err(error)) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other) => {
                Err(malformed(error))
            }
            Some(Err(error)) => Err(error.into()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed during the greeting").into()),
        }
    }

    fn note(&mut self, heard: &[u8]) {
        if let Some(guard) = &mut self.guard {
            guard.transcript.note(self.part.other(), heard);
        }
    }

    /// The dialling side's answer to a challenge that it has heard.
    pub(super) async fn prove(&mut self) -> Result<(), GreetingError> {
        let Some(guard) = &mut self.guard else { return Ok(()) };
        let answer = guard.transcript.answer(self.part);
        self.send(&Step::Prove(answer)).await?;
        self.seal_from_now_on();
        Ok(())
    }

    /// The accepting side's question; whether the other side had the answer.
    pub(super) async fn challenge(&mut self, nonce: Nonce) -> Result<bool, GreetingError> {
        self.send(&Step::Challenge(nonce)).await?;
        let proved = self.hear_proof().await?;
        if proved {
            self.seal_from_now_on();
        }
        Ok(proved)
    }

    /// Whether the other side may call itself so: where it has shown a certificate, that must say so too.
    pub(super) fn may_be(&self, node: &NodeId, address: &Address) -> bool {
        let certificate = tls::certificate_of(self.framed.get_ref().as_ref());
        certificate.is_none_or(|certificate| tls::names(certificate, node, address))
    }

    fn seal_from_now_on(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.sealed = true;
        }
    }
}

pub(super) fn malformed(error: impl Display) -> GreetingError {
    GreetingError::Malformed { reason: error.to_string() }
}
