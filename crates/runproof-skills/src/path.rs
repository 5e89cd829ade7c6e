//! The path language of `json_transform`: `a.b[0].c`, where `[-1]` is the last item. Reads one place, no wildcards.

use std::fmt;

use serde_json::Value;

/// A place inside a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    /// Negative counts from the end.
    Index(i64),
}

/// A text that is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text is empty.
    #[error("path is empty")]
    Empty,
    /// Nothing stands before, after or between dots.
    #[error("path has an empty name")]
    EmptyName,
    /// Brackets do not hold one integer.
    #[error("path has brackets without one integer")]
    BadIndex,
    /// Something other than `.` or `[` follows a bracket, or a bracket closes that was not opened.
    #[error("path has a misplaced bracket")]
    MisplacedBracket,
}

impl Path {
    /// Reads a path. A name is anything without `.`, `[` and `]`; a path may begin with an index.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong first.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let mut segments = Vec::new();
        for (position, part) in text.split('.').enumerate() {
            let (name, indexes) = match part.find('[') {
                Some(at) => part.split_at(at),
                None => (part, ""),
            };
            if name.contains(']') {
                return Err(PathError::MisplacedBracket);
            }
            if !name.is_empty() {
                segments.push(Segment::Key(name.to_owned()));
            } else if position > 0 || indexes.is_empty() {
                return Err(PathError::EmptyName);
            }
            push_indexes(indexes, &mut segments)?;
        }
        Ok(Self { segments })
    }

    /// The value at this place, if there is one. A JSON `null` is a value.
    pub fn get<'value>(&self, value: &'value Value) -> Option<&'value Value> {
        self.segments.iter().try_fold(value, |value, segment| match segment {
            Segment::Key(name) => value.as_object()?.get(name),
            Segment::Index(index) => {
                let items = value.as_array()?;
                let length = i64::try_from(items.len()).ok()?;
                let position = if *index < 0 { length.checked_add(*index)? } else { *index };
                items.get(usize::try_from(position).ok()?)
            }
        })
    }
}

/// Reads `[0][-1]` to its end.
fn push_indexes(mut text: &str, segments: &mut Vec<Segment>) -> Result<(), PathError> {
    while !text.is_empty() {
        let inside = text.strip_prefix('[').ok_or(PathError::MisplacedBracket)?;
        let (index, rest) = inside.split_once(']').ok_or(PathError::MisplacedBracket)?;
        // `parse` alone would also take `+1`.
        let digits = index.strip_prefix('-').unwrap_or(index);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PathError::BadIndex);
        }
        segments.push(Segment::Index(index.parse().map_err(|_| PathError::BadIndex)?));
        text = rest;
    }
    Ok(())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Key(name) if position == 0 => f.write_str(name)?,
                Segment::Key(name) => write!(f, ".{name}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
