//! Text that somebody else wrote: a server, a proxy, a file. It is cut short, and its control characters are spelled
//! out, before it goes anywhere a person reads.

use std::borrow::Cow;

/// More characters of a foreign text tell nobody more.
const LONGEST: usize = 300;

/// The text as it may be shown: without the characters that move a cursor, ring a bell, end a line or turn the reading
/// direction, and of bounded length.
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_short = text.len() <= LONGEST || text.chars().nth(LONGEST).is_none();
    if is_short {
        spelled(text)
    } else {
        Cow::Owned(spelled(&text[..cut(text)]).into_owned() + "…")
    }
}

/// The same of any length, for text that is kept as it is otherwise.
pub fn spelled(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let spell = |c: char| {
        if acts(c) {
            c.escape_unicode().to_string()
        } else {
            c.to_string()
        }
    };
    Cow::Owned(text.chars().map(spell).collect())
}

fn cut(text: &str) -> usize {
    text.char_indices()
        .nth(LONGEST)
        .map_or(text.len(), |(at, _)| at)
}

/// Whether a character does something instead of being seen: the control characters (C0, DEL, C1), line and paragraph
/// separators, and the marks that turn the reading direction or have no width.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_spelled_out_and_what_is_seen_stays() {
        assert_eq!(
            plain("grüß 漢字 \"quoted\" <b>"),
            "grüß 漢字 \"quoted\" <b>"
        );
        assert_eq!(
            plain("\u{1b}[31mred\u{7}\r\n"),
            r"\u{1b}[31mred\u{7}\u{d}\u{a}"
        );
        assert_eq!(
            plain("\u{9b}2J\u{7f}\u{202e}\u{2028}\u{feff}"),
            r"\u{9b}2J\u{7f}\u{202e}\u{2028}\u{feff}"
        );
        let every: String = (0..=0x2fff_u32).filter_map(char::from_u32).collect();
        assert!(!spelled(&every).contains(char::is_control));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(LONGEST);
        assert_eq!(plain(&text), text);
        assert_eq!(plain(&(text.clone() + "é")), text + "…");
        assert!(plain(&"\u{1b}".repeat(1_000_000)).len() < 3_000);
    }
}
