//! What every code means: the pages of `docs/errors`, built into the program.

mod pages;

pub use pages::FAMILIES;

/// Codes of one kind, with their pages.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What the codes are about.
    pub name: &'static str,
    /// The pages, in the order of the listing.
    pub pages: &'static [Page],
}

/// The page of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The code.
    pub code: &'static str,
    /// The whole page, as Markdown.
    pub text: &'static str,
}

impl Page {
    /// What happened, in one line: the first paragraph of the page.
    pub fn title(&self) -> &'static str {
        self.text.lines().skip(1).find(|line| !line.is_empty()).unwrap_or_default()
    }
}

/// The page of a code; capitals do not matter.
pub fn find(code: &str) -> Option<&'static Page> {
    all().find(|page| page.code.eq_ignore_ascii_case(code))
}

/// The codes that somebody may have meant, the nearest first; at most three.
pub fn nearest(word: &str) -> Vec<&'static str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    let tail = |code: &'static str| code.rsplit('.').next().unwrap_or(code);
    let distance = |code: &'static str| {
        let part = !word.is_empty() && (code.starts_with(&word) || tail(code) == word);
        if part { 0 } else { changes(&word, &code.to_lowercase()) }
    };
    let mut near: Vec<_> = all().map(|page| (distance(page.code), page.code)).collect();
    near.retain(|(distance, _)| *distance <= 2 + word.len() / 4);
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, code)| code).collect()
}

fn all() -> impl Iterator<Item = &'static Page> {
    FAMILIES.iter().flat_map(|family| family.pages)
}

/// How many letters have to be put in, left out or changed (Levenshtein distance).
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
