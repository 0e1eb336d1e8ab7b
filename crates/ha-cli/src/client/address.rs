//! Where a node speaks HTTP.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// The port of `http://` without one.
const HTTP_PORT: u16 = 80;

/// `http://HOST[:PORT][/PATH]`; without the scheme, `http://` is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeUrl {
    host: String,
    port: u16,
    /// As it stands in the `Host` header.
    authority: String,
    /// What stands before every path, without a slash at its end.
    prefix: String,
}

impl NodeUrl {
    /// What to dial.
    pub(crate) fn socket(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// A path below this URL.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

impl FromStr for NodeUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST:PORT";
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|_| expected.to_owned())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("a node speaks http:// only; TLS is a proxy's work".to_owned()),
            _ => return Err(expected.to_owned()),
        }
        let authority = uri.authority().ok_or(expected)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(format!("{expected}, without a user or a query; a token is given by --token"));
        }
        // `host:` and `host:99999` parse as an authority without a port.
        if authority.port().is_none() && authority.as_str() != authority.host() {
            return Err("the port is a number from 1 to 65535".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(expected.to_owned());
        }
        let port = authority.port_u16().unwrap_or(HTTP_PORT);
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { host, port, authority: authority.as_str().to_owned(), prefix })
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_together() {
        for (text, host, port, shown) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, "http://127.0.0.1:8080"),
            ("http://node-1", "node-1", 80, "http://node-1"),
            ("node-1:8081", "node-1", 8081, "http://node-1:8081"),
            ("http://[::1]:8080/", "::1", 8080, "http://[::1]:8080"),
            ("http://proxy/ha/", "proxy", 80, "http://proxy/ha"),
        ] {
            let url: NodeUrl = text.parse().unwrap();
            assert_eq!((url.socket(), url.to_string().as_str()), ((host, port), shown), "{text}");
        }
        assert_eq!("http://proxy/ha/".parse::<NodeUrl>().unwrap().path("/v1/cluster"), "/ha/v1/cluster");
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for text in [
            "",
            "https://node-1",
            "ftp://node-1",
            "http://",
            "http://a:b@node-1",
            "http://a b",
            "a:0x",
            "a:99999",
            "a:",
        ] {
            assert!(text.parse::<NodeUrl>().is_err(), "{text:?}");
        }
    }
}
