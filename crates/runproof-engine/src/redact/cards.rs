//! Card numbers: digits that an issuer could have given out and whose check digit is right.
//!
//! The check digit alone is not enough: one number in ten passes it, and times in milliseconds have thirteen digits.
//! So the first digits must be an issuer's and the length must fit, and digits inside a longer word (a hash, an id)
//! do not count.

use std::ops::Range;

use serde_json::Number;

/// What a card number becomes.
pub(super) const MARKER: &str = "<REDACTED_CARD>";

/// Whether a JSON number is a card number.
pub(super) fn is_card_number(number: &Number) -> bool {
    if let Some(integer) = number.as_u64() {
        return integer >= 1_000_000_000_000 && is_card(integer.to_string().as_bytes());
    }
    // `4111111111111111.0` is the same number.
    number.as_f64().is_some_and(|float| {
        float.fract() == 0.0 && (1e12..1e19).contains(&float) && is_card(format!("{float:.0}").as_bytes())
    })
}

/// Where the card numbers of `text` are: in one piece, or in groups with a blank or dash between them.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let groups = digit_groups(bytes, at);
        at = groups.last().map_or(at + 1, |last| last.end);
        find_in_groups(text, &groups, &mut found);
    }
    found
}

/// The groups of digits from `start` on that single blanks or dashes hold together.
fn digit_groups(bytes: &[u8], start: usize) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = start;
    loop {
        let end = start + bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        groups.push(start..end);
        let joined = matches!(bytes.get(end), Some(b' ' | b'-')) && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !joined {
            return groups;
        }
        start = end + 1;
    }
}

fn find_in_groups(text: &str, groups: &[Range<usize>], found: &mut Vec<Range<usize>>) {
    let mut first = 0;
    while first < groups.len() {
        match card_from(text, groups, first) {
            Some(last) => {
                found.push(groups[first].start..groups[last].end);
                first = last + 1;
            }
            None => first += 1,
        }
    }
}

/// The last group of a card number that begins with the group `first`, if there is one.
fn card_from(text: &str, groups: &[Range<usize>], first: usize) -> Option<usize> {
    let mut digits = Vec::with_capacity(19);
    for (index, group) in groups.iter().enumerate().skip(first) {
        // Printed cards begin with a group of four, and no later group is longer than six.
        let many = index > first;
        if digits.len() + group.len() > 19 || (many && (groups[first].len() != 4 || group.len() > 6)) {
            return None;
        }
        digits.extend_from_slice(&text.as_bytes()[group.clone()]);
        if is_card(&digits) && stands_alone(text, groups[first].start, group.end) {
            return Some(index);
        }
    }
    None
}

/// Whether no letter or digit touches the range, and it is not the fraction of a decimal number.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let mut before = text[..start].chars().rev();
    let left = before.next();
    let fraction = left == Some('.') && before.next().is_some_and(|c| c.is_ascii_digit());
    let touches = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    !fraction && !touches(left) && !touches(text[end..].chars().next())
}

/// Whether these ASCII digits are a card number.
fn is_card(digits: &[u8]) -> bool {
    issuer_accepts(digits) && has_right_check_digit(digits)
}

/// Whether the first two digits and the length belong together, by ISO/IEC 7812 ranges of the large networks.
fn issuer_accepts(digits: &[u8]) -> bool {
    let [first, second, ..] = digits else { return false };
    let length = digits.len();
    match (first, second) {
        (b'4', _) => matches!(length, 13 | 16 | 18 | 19),
        (b'5', b'1'..=b'5') | (b'2', b'2'..=b'7') => length == 16,
        (b'3', b'4' | b'7') => length == 15,
        (b'3', b'5') => (16..=19).contains(&length),
        (b'3', b'0' | b'6' | b'8' | b'9') => (14..=19).contains(&length),
        (b'5', b'0' | b'6'..=b'9') | (b'6', _) => (13..=19).contains(&length),
        _ => false,
    }
}

/// The Luhn check: every second digit from the right counts double.
fn has_right_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            let doubled = digit * 2;
            match place % 2 {
                0 => digit,
                _ if doubled > 9 => doubled - 9,
                _ => doubled,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}
