//! Names in paths.

/// A name as one segment of a path: everything that could mean something else is written in percent.
pub(crate) fn segment(name: &str) -> String {
    encode(name, false)
}

/// A name whose slashes separate segments.
pub(crate) fn segments(name: &str) -> String {
    encode(name, true)
}

fn encode(name: &str, slashes: bool) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (slashes && byte == b'/');
        if plain {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_path_is_written_in_percent() {
        assert_eq!(segment("a/b c?d#e%ü"), "a%2Fb%20c%3Fd%23e%25%C3%BC");
        assert_eq!(segments("a/b&c"), "a/b%26c");
    }
}
