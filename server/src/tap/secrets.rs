//! What a tap does not show of a head: the values of headers that let somebody in.

/// In lower case.
const SECRET: [&[u8]; 5] = [
    b"authorization",
    b"cookie",
    b"proxy-authorization",
    b"sec-websocket-protocol",
    b"set-cookie",
];
/// No name of a secret is longer; of a longer one, the rest does not matter.
const LONGEST: usize = 22;

/// One direction of an exchange, read byte by byte, so that it does not matter where it is split.
///
/// A body is read like a head: where one ends and the next head begins need not be known, and nothing that is sent over
/// any transport has a line that begins like a secret.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    place: Place,
    /// The name of the header under way, in lower case, without white space; its end is cut off.
    name: Vec<u8>,
    /// The value of the header is one.
    secret: bool,
    /// A head has ended: what follows may be another request.
    pub(super) ended: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Place {
    #[default]
    LineStart,
    Name,
    BeforeValue,
    Value,
}

impl Secrets {
    /// Appends these bytes to what is shown, until that is as long as it may be; values of secrets as stars.
    pub(super) fn pass(&mut self, bytes: &[u8], shown: &mut Vec<u8>, most: usize) {
        for &byte in bytes {
            let hidden = self.hides(byte);
            if shown.len() < most {
                shown.push(if hidden { b'*' } else { byte });
            }
        }
    }

    fn hides(&mut self, byte: u8) -> bool {
        let space = matches!(byte, b' ' | b'\t');
        match (self.place, byte) {
            (Place::LineStart, b'\r') => {}
            (Place::LineStart, b'\n') => (self.secret, self.ended) = (false, true),
            // A value that goes on in the next line (RFC 9112 section 5.2).
            (Place::LineStart, _) if space && self.secret => self.place = Place::BeforeValue,
            (Place::LineStart, _) => {
                self.secret = false;
                self.place = Place::Name;
                self.name.clear();
                self.push(byte);
            }
            (_, b'\n') => self.place = Place::LineStart,
            (Place::Name, b':') => {
                self.secret = SECRET.contains(&&*self.name);
                self.place = Place::BeforeValue;
            }
            (Place::Name, _) => self.push(byte),
            (Place::BeforeValue, _) if space => {}
            (Place::BeforeValue | Place::Value, _) => {
                self.place = Place::Value;
                return self.secret && byte != b'\r';
            }
        }
        false
    }

    fn push(&mut self, byte: u8) {
        if self.name.len() <= LONGEST && !byte.is_ascii_whitespace() {
            self.name.push(byte.to_ascii_lowercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&[u8]]) -> String {
        let (mut secrets, mut shown) = (Secrets::default(), Vec::new());
        pieces
            .iter()
            .for_each(|piece| secrets.pass(piece, &mut shown, usize::MAX));
        String::from_utf8_lossy(&shown).into_owned()
    }

    const HEAD: &str = "GET /ws?tap=1&cookie: HTTP/1.1\r\nHost: x\r\nCookie: SECRET; b=SECRET\r\nx: y\r\n\
        AUTHORIZATION:SECRET SECRET\r\nproxy-Authorization \t: \tSECRET\r\n\tSECRET\r\n  SECRET\r\nX-Cookie: shown\r\n\
        sec-websocket-protocol: chat, SECRET\nCookies: shown\n  Cookie: SECRET\r\n\r\n\
        HTTP/1.1 200 OK\r\nset-cookie: SECRET\r\nSet-Cookie2: shown\r\n\r\n{\"text\":\"Cookie: shown\"}";

    #[test]
    fn the_values_of_secrets_are_stars_wherever_the_head_is_split() {
        let whole = shown(&[HEAD.as_bytes()]);
        assert!(
            !whole.contains("SECRET") && whole.len() == HEAD.len(),
            "{whole}"
        );
        assert_eq!(whole.matches("shown").count(), 4, "{whole}");
        assert!(
            whole.contains("\r\nCookie: ****************\r\nx: y\r\n"),
            "{whole}"
        );
        for at in 0..HEAD.len() {
            let (first, second) = HEAD.as_bytes().split_at(at);
            assert_eq!(shown(&[first, second]), whole, "split at {at}");
        }
        let bytes: Vec<_> = HEAD.as_bytes().chunks(1).collect();
        assert_eq!(shown(&bytes), whole);
    }

    #[test]
    fn what_is_not_shown_is_read_all_the_same() {
        let (mut secrets, mut shown) = (Secrets::default(), Vec::new());
        secrets.pass(b"HTTP/1.1 200 OK\r\nSet-Coo", &mut shown, 4);
        let mut next = Vec::new();
        secrets.pass(b"kie: SECRET\r\n\r\n", &mut next, 100);
        assert_eq!(
            (&shown[..], &next[..]),
            (&b"HTTP"[..], &b"kie: ******\r\n\r\n"[..])
        );
        assert!(secrets.ended);
    }
}
