//! What reads the bytes of strangers and peers, to be fed with anything: see the package `ha-fuzz`.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

use crate::codec::frame::{self, HEADER_BYTES, Header, Kind, LENGTH_BYTES, Outgoing};
use crate::codec::hello::{self, Hello, Refuse, Step, Versions};
use crate::greeting::Greeter;
use crate::secret::{Nonces, Secret};
use crate::wire::tls;
use crate::{
    Address, ClusterId, Gate, Incarnation, Introduction, Lane, NodeId, Refusal, RefusalCode,
    limits::HELLO_FRAME_BYTES_MAX,
};

/// A name, valid inputs to begin with, and what takes an input.
pub type Target = (&'static str, Vec<Vec<u8>>, fn(&[u8]));

/// All of this crate, but certificates, whose inputs come from outside.
pub fn targets() -> Vec<Target> {
    vec![
        ("frame", frames(), frame),
        ("hello", hellos(), hello),
        ("greeting", hellos(), greeting),
        ("address", vec![b"node-1.example:7946".to_vec(), b"[fd00::1]:7946".to_vec()], text),
    ]
}

fn introduction() -> Introduction {
    Introduction {
        cluster_name: "shop".to_owned(),
        cluster_id: Some(ClusterId(5)),
        generation: 1,
        node_id: "n1".parse().unwrap_or_else(|_| unreachable!("a node id")),
        incarnation: Incarnation(2),
        address: Address::new("h", 7946).unwrap_or_else(|_| unreachable!("an address")),
        claims: BTreeMap::from([("ttl".to_owned(), "9".to_owned())]),
    }
}

fn frames() -> Vec<Vec<u8>> {
    let kinds = [Kind::Ask, Kind::Answer, Kind::Tell, Kind::Open, Kind::Frame, Kind::Credit, Kind::Goodbye];
    let frame = |kind| {
        let frame = Outgoing::new(Header { service: 3, amount: 1500, ..Header::about(kind, 258) }, Bytes::from("body"));
        [&frame.head[..], &frame.body].concat()
    };
    kinds.into_iter().map(frame).chain([kinds.into_iter().flat_map(frame).collect()]).collect()
}

/// A connection that was admitted: frames one after the other, and one whose checksum is right whatever it says.
fn frame(input: &[u8]) {
    let mut codec = LengthDelimitedCodec::builder()
        .length_field_length(LENGTH_BYTES)
        .max_frame_length(Lane::Control.frame_bytes_max())
        .new_codec();
    let mut bytes = BytesMut::from(input);
    while let Ok(Some(frame)) = codec.decode(&mut bytes) {
        let _ = frame::open(frame);
    }
    if let Some(frame) = input.get(LENGTH_BYTES..).filter(|frame| frame.len() >= HEADER_BYTES) {
        let mut mended = BytesMut::from(frame);
        let (fields, body) = mended.split_at_mut(HEADER_BYTES);
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&fields[..HEADER_BYTES - 4]), body);
        fields[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_be_bytes());
        if let Ok((header, body)) = frame::open(mended) {
            assert_eq!(Outgoing::new(header, body).head[LENGTH_BYTES..], *input_head(input, checksum));
        }
    }
}

fn input_head(input: &[u8], checksum: u32) -> Vec<u8> {
    let mut head = input[LENGTH_BYTES..LENGTH_BYTES + HEADER_BYTES].to_vec();
    head[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_be_bytes());
    head
}

fn hellos() -> Vec<Vec<u8>> {
    let hello = |lane, nonce| Step::Hello(Box::new(Hello { introduction: introduction(), lane, instance: 7, nonce }));
    let refusal = Refusal { code: RefusalCode::ClusterName, message: "other".to_owned() };
    let (node_id, incarnation) = (introduction().node_id, Incarnation(2));
    let steps = [
        hello(Lane::Control, None),
        hello(Lane::Bulk(3), Some([9; 32])),
        Step::Confirm,
        Step::Refuse(Box::new(Refuse { refusal, node_id, incarnation, instance: 7 })),
        Step::Challenge([7; 32]),
        Step::Prove([7; 32]),
    ];
    let sealed: Vec<Vec<u8>> =
        steps.iter().filter_map(|step| Some(hello::seal(Versions::OURS, step).ok()?.to_vec())).collect();
    let talk = [&sealed[0][..], &sealed[2]].concat();
    let proof = [&sealed[1][..], &sealed[5], &sealed[2], &sealed[5]].concat();
    sealed.into_iter().chain([talk, proof]).collect()
}

/// Each step of a greeting, as it is and with a right checksum.
fn hello(input: &[u8]) {
    let newer = Versions { lowest: 1, highest: 9 };
    for frame in [input, input.get(LENGTH_BYTES..).unwrap_or_default()] {
        for ours in [Versions::OURS, newer] {
            let _ = hello::open(ours, frame);
            let _ = hello::open(ours, &mended(frame));
        }
    }
}

/// A step with the bytes that every step has, and its checksum.
fn mended(frame: &[u8]) -> Vec<u8> {
    let mut mended = frame.to_vec();
    if let Some((fields, body)) = mended.split_first_chunk_mut::<13>() {
        fields[..4].copy_from_slice(b"HANT");
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&fields[..9]), body);
        fields[9..].copy_from_slice(&checksum.to_be_bytes());
    }
    mended
}

/// A whole stranger who dials a node with a secret, and one without: nobody gets in with a secret that he was not told.
fn greeting(input: &[u8]) {
    static NONCES: LazyLock<Nonces> = LazyLock::new(|| Nonces::new(Secret::new("a secret that nobody guesses"), 1));
    for nonces in [None, Some(&*NONCES)] {
        let greeter = Greeter { gate: &House, versions: Versions::OURS, instance: 1, nonces, key: 0 };
        for stream in [input.to_vec(), steps(input)] {
            let (accepting, dialling) = (Stranger::saying(stream.clone()), Stranger::saying(stream));
            let accepted = greeter.accept(Box::new(accepting), || Ok(())).now_or_never();
            assert!(nonces.is_none() || !matches!(accepted, Some(Ok(_))), "a stranger was let in");
            let dialled = greeter.dial(Box::new(dialling), Lane::Control).now_or_never();
            assert!(nonces.is_none() || !matches!(dialled, Some(Ok(_))), "a stranger was believed");
        }
    }
}

/// The input cut into steps, each with its length and a right checksum.
fn steps(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk::<LENGTH_BYTES>() {
        let length = (u32::from_be_bytes(*length) as usize).min(after.len()).min(HELLO_FRAME_BYTES_MAX);
        let (frame, after) = after.split_at(length);
        out.extend((length as u32).to_be_bytes());
        out.extend(mended(frame));
        rest = after;
    }
    out
}

struct House;

impl Gate for House {
    fn introduce(&self) -> Introduction {
        Introduction { node_id: "n9".parse().unwrap_or_else(|_| unreachable!("a node id")), ..introduction() }
    }

    fn admit(&self, _: &Introduction) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Says what it has to say, and hangs up. Takes everything that is said to it.
struct Stranger(io::Cursor<Vec<u8>>);

impl Stranger {
    fn saying(bytes: Vec<u8>) -> Self {
        Self(io::Cursor::new(bytes))
    }
}

impl AsyncRead for Stranger {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stranger {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse::<Address>().as_ref(), Ok(&address), "{text:?}");
    }
    let _ = text.parse::<NodeId>();
}

/// The three files of a node, in PEM, one behind the other; and one certificate in DER.
pub fn certificates(input: &[u8]) {
    let found: Vec<_> = CertificateDer::pem_slice_iter(input).take(16).filter_map(Result::ok).collect();
    let _ = PrivateKeyDer::from_pem_slice(input);
    for certificate in found.iter().chain([&CertificateDer::from_slice(input).into_owned()]) {
        let mut roots = RootCertStore::empty();
        let _ = roots.add(certificate.clone());
        let authority = tls::authority(roots, &ring::default_provider());
        let _ = authority.check_chain(&[vec![certificate.clone()], found.clone()].concat(), UnixTime::now());
        let peer = introduction();
        let _ = tls::names(certificate, &peer.node_id, &peer.address);
    }
}

/// The first certificate of a file, without its wrapping.
pub fn der(pem: &[u8]) -> Vec<u8> {
    CertificateDer::pem_slice_iter(pem).find_map(Result::ok).map(|found| found.to_vec()).unwrap_or_default()
}
