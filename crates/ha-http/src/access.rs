//! Who may change something, or see what is kept here.
//!
//! With a token, a caller must present it. Without one, only a server that listens on a loopback address lets a caller
//! change anything, and then only a caller that is no web page: a browser on the same machine can be made to send
//! requests there by any site, and to read the answers where a name of that site leads to this machine, so a name in
//! `Host` or `Origin` that is not this machine's own is turned away.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, StatusCode, header, uri::Authority};

use crate::error::ApiError;

/// A secret that callers present as `Authorization: Bearer …`. Never shown by `Debug`.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// A token of printable ASCII without spaces, since it travels in a header.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        Ok(Self(text.into()))
    }

    /// Compares in a time that depends on the lengths only, so that answers do not reveal how much was right.
    fn matches(&self, presented: &str) -> bool {
        let (own, presented) = (self.0.as_bytes(), presented.as_bytes());
        let differences =
            own.iter().zip(presented).fold(0, |differences, (a, b)| std::hint::black_box(differences | (a ^ b)));
        own.len() == presented.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a text cannot be a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It would let everybody in.
    #[error("a token must not be empty")]
    Empty,
    /// It cannot stand in a header.
    #[error("a token is made of printable ASCII characters without spaces")]
    Characters,
}

/// Who may change something through this server.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    token: Option<Token>,
    listen: SocketAddr,
}

impl Access {
    pub(crate) fn new(token: Option<Token>, listen: SocketAddr) -> Self {
        Self { token, listen }
    }

    /// Decides about one request that would show what people keep here. Where a token is set, it is needed for that too.
    pub(crate) fn allow_read(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match &self.token {
            Some(token) => presented(token, headers),
            // Whoever listens for others has made it readable for all of them.
            None if !self.listen.ip().is_loopback() => Ok(()),
            None => local_page(headers),
        }
    }

    /// Decides about one request that would change something.
    pub(crate) fn allow_change(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match &self.token {
            Some(token) => presented(token, headers),
            None if !self.listen.ip().is_loopback() => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "token_required",
                "calls that change something are answered on a loopback address only: set HTTP_TOKEN on this node",
            )),
            None => local_page(headers),
        }
    }
}

fn presented(token: &Token, headers: &HeaderMap) -> Result<(), ApiError> {
    match bearer(headers) {
        Some(presented) if token.matches(presented) => Ok(()),
        Some(_) => Err(unauthorized("the bearer token is wrong")),
        None => Err(unauthorized("this call needs the header `Authorization: Bearer TOKEN`")),
    }
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Turns away what a web page of another site could make a browser send.
fn local_page(headers: &HeaderMap) -> Result<(), ApiError> {
    for (name, scheme) in [(header::HOST, false), (header::ORIGIN, true)] {
        let Some(value) = headers.get(&name) else { continue };
        if !value.to_str().is_ok_and(|value| is_local(value, scheme)) {
            return Err(foreign(&name));
        }
    }
    Ok(())
}

fn is_local(value: &str, scheme: bool) -> bool {
    let authority = if scheme { value.split_once("://").map_or("", |(_, rest)| rest) } else { value };
    let Ok(authority) = authority.parse::<Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn foreign(name: &HeaderName) -> ApiError {
    let message = format!(
        "without HTTP_TOKEN, a call that changes something or shows what is kept here must name this machine in `{name}`"
    );
    ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
    const OPEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8080);

    fn verdict(token: Option<&str>, listen: SocketAddr, headers: &[(HeaderName, &'static str)]) -> u16 {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect::<HeaderMap>();
        let access = Access::new(token.map(|text| Token::new(text).unwrap()), listen);
        match access.allow_change(&headers) {
            Ok(()) => 200,
            Err(error) => axum::response::IntoResponse::into_response(error).status().as_u16(),
        }
    }

    #[test]
    fn without_a_token_only_loopback_may_change_something() {
        assert_eq!(verdict(None, LOOPBACK, &[]), 200);
        assert_eq!(verdict(None, OPEN, &[]), 403);
        assert_eq!(verdict(None, OPEN, &[(header::AUTHORIZATION, "Bearer anything-at-all")]), 403);
    }

    #[test]
    fn with_a_token_every_caller_must_present_it() {
        for listen in [LOOPBACK, OPEN] {
            let present = |value| verdict(Some("open-sesame"), listen, &[(header::AUTHORIZATION, value)]);
            assert_eq!(present("Bearer open-sesame"), 200);
            assert_eq!(present("bearer open-sesame"), 200);
            assert_eq!(present("Bearer open-sesamE"), 401);
            assert_eq!(present("Bearer open-sesame-and-more"), 401);
            assert_eq!(present("Bearer open"), 401);
            assert_eq!(present("Basic open-sesame"), 401);
            assert_eq!(verdict(Some("open-sesame"), listen, &[]), 401);
        }
    }

    #[test]
    fn a_page_of_another_site_cannot_use_a_browser_on_this_machine() {
        for (host, expected) in [("localhost:8080", 200), ("127.0.0.1:8080", 200), ("[::1]:8080", 200)] {
            assert_eq!(verdict(None, LOOPBACK, &[(header::HOST, host)]), expected, "{host}");
        }
        assert_eq!(verdict(None, LOOPBACK, &[(header::HOST, "rebound.example:8080")]), 403);
        assert_eq!(verdict(None, LOOPBACK, &[(header::ORIGIN, "http://localhost:3000")]), 200);
        for origin in ["https://site.example", "null", "http://localhost.site.example", "http://user@site.example"] {
            let headers = [(header::HOST, "localhost:8080"), (header::ORIGIN, origin)];
            assert_eq!(verdict(None, LOOPBACK, &headers), 403, "{origin}");
        }
    }

    /// A name of the site may lead to this machine: then a page reads the answers too.
    #[test]
    fn a_page_of_another_site_cannot_read_what_is_kept_on_this_machine() {
        let may_read = |token: Option<&str>, listen, host| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            Access::new(token.map(|text| Token::new(text).unwrap()), listen).allow_read(&headers).is_ok()
        };
        assert!(may_read(None, LOOPBACK, "localhost:8080") && may_read(None, LOOPBACK, "127.0.0.1:8080"));
        assert!(!may_read(None, LOOPBACK, "rebound.example:8080"));
        assert!(may_read(None, OPEN, "node-1.example:8080"), "whoever listens for others");
        assert!(!may_read(Some("open-sesame"), OPEN, "localhost:8080"), "without the token");
    }

    #[test]
    fn a_token_can_be_sent_and_is_never_shown() {
        assert_eq!(Token::new("").unwrap_err(), TokenError::Empty);
        assert_eq!(Token::new("with a space").unwrap_err(), TokenError::Characters);
        assert_eq!(format!("{:?}", Token::new("open-sesame").unwrap()), "Token(…)");
    }
}
