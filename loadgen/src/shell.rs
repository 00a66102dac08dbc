//! Words as a shell reads them: a command that can be repeated, whatever bytes its arguments are.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A word, quoted where it has to be. What is not UTF-8, and control characters, are as `$'\xff'`.
pub fn quote(word: &OsStr) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.into(),
        Some(text) if !text.contains(char::is_control) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        _ => format!("$'{}'", escape(word.as_bytes())),
    }
}

/// A path as people are told it: as it is, or quoted where it could not be shown.
pub fn path(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains(char::is_control) => text.into(),
        _ => quote(path.as_os_str()),
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("\\x{byte:02x}"))
            .collect::<String>()
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out += "\\n",
                '\\' | '\'' => out.extend(['\\', c]),
                _ if c.is_control() => out += &hex(c.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => out.push(c),
            }
        }
        out += &hex(chunk.invalid());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_as_it_has_to_be() {
        for (word, quoted) in [
            (&b"a-b_c.d/e:f=g,1"[..], "a-b_c.d/e:f=g,1"),
            (b"", "''"),
            (b"two words", "'two words'"),
            (b"it's", r"'it'\''s'"),
            (b"d\xff", r"$'d\xff'"),
            ("é\u{1b}'\\\n\u{9b}€".as_bytes(), r"$'é\x1b\'\\\n\xc2\x9b€'"),
            (b"\xe2\x82", r"$'\xe2\x82'"),
        ] {
            assert_eq!(quote(OsStr::from_bytes(word)), quoted);
        }
        assert_eq!(path(Path::new("two words/é")), "two words/é");
        assert_eq!(path(Path::new(OsStr::from_bytes(b"a/\xff"))), r"$'a/\xff'");
    }
}
