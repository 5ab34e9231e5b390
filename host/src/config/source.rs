//! Texts of files, and places in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A configuration file, or one that it includes, as it was read.
#[derive(Debug)]
pub struct Source {
    name: String,
    /// Where relative paths in it start.
    directory: PathBuf,
    /// Its number: 0 is the configuration file itself.
    file: u16,
    text: String,
    /// Byte offset of the start of each line.
    line_starts: Vec<usize>,
}

/// The files of a configuration: the one that was named, then those it includes in the order in which they were read. Never empty.
#[derive(Clone, Debug)]
pub struct Sources(Vec<Arc<Source>>);

/// A stretch of one line of a file. Lines and columns count from 1, columns in characters; the end is exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, by its number among all that were read.
    pub file: u16,
    /// Line.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
    /// Column after the last character.
    pub end_column: u32,
}

impl Source {
    /// Keeps `text`, less a byte-order mark, under the name that messages use. Relative paths in it start at `directory`.
    pub fn new(name: String, text: String, directory: PathBuf) -> Self {
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        let bytes = text.as_bytes();
        let mut line_starts = vec![0];
        for (index, &byte) in bytes.iter().enumerate() {
            // The breaks of YAML 1.2: LF, CR LF, and CR alone.
            if byte == b'\n' || (byte == b'\r' && bytes.get(index + 1) != Some(&b'\n')) {
                line_starts.push(index + 1);
            }
        }
        Self { name, directory, file: 0, text, line_starts }
    }

    /// The file's name as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where relative paths in it start.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of lines; an empty file has one.
    pub fn lines(&self) -> u32 {
        u32::try_from(self.line_starts.len()).unwrap_or(u32::MAX)
    }

    /// A line without its break; empty if there is no such line.
    pub fn line(&self, line: u32) -> &str {
        let Some(index) = (line as usize).checked_sub(1) else { return "" };
        let Some(&start) = self.line_starts.get(index) else { return "" };
        let end = self.line_starts.get(index + 1).copied().unwrap_or(self.text.len());
        self.text[start..end].trim_end_matches(['\n', '\r'])
    }

    /// A place within the file: whatever lies outside is moved to the nearest end. One that goes on over several
    /// lines is cut at the end of its first.
    pub fn place(&self, (line, column): (usize, usize), (end_line, end_column): (usize, usize)) -> Place {
        let clamp = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let at = clamp(line).clamp(1, self.lines());
        let text = self.line(at);
        let after_last = clamp(text.chars().count()) + 1;
        let text_end = clamp(text.trim_end().chars().count()) + 1;
        let column = clamp(column).clamp(1, after_last);
        let end = if end_line == line { clamp(end_column).min(after_last) } else { text_end };
        Place { file: self.file, line: at, column, end_column: end.max(column) }
    }

    /// The place of a line's text, without the blanks around it.
    pub fn line_place(&self, line: u32) -> Place {
        let text = self.line(line);
        let indent = text.chars().take_while(|c| c.is_whitespace()).count();
        self.place((line as usize, indent + 1), (line as usize, text.trim_end().chars().count() + 1))
    }

    /// Byte offset of a line and column, both from 1, within the text.
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let rest = &self.text[start..];
        let skipped: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
        start + skipped
    }

    /// The place of `bytes` bytes from a byte offset, which must be a character's.
    pub fn place_at(&self, offset: usize, bytes: usize) -> Place {
        let index = self.line_starts.partition_point(|&start| start <= offset);
        let start = self.line_starts[index.saturating_sub(1)];
        let column = self.text[start..offset].chars().count() + 1;
        let width = self.text[offset..].get(..bytes).map_or(1, |text| text.chars().count());
        self.place((index, column), (index, column + width))
    }
}

impl Sources {
    /// A file that includes none yet.
    pub fn new(main: Source) -> Self {
        Self(vec![Arc::new(Source { file: 0, ..main })])
    }

    /// Takes an included file in and numbers it.
    pub fn add(&mut self, source: Source) -> Arc<Source> {
        let file = u16::try_from(self.0.len()).unwrap_or(u16::MAX);
        let source = Arc::new(Source { file, ..source });
        self.0.push(Arc::clone(&source));
        source
    }

    /// The file that was named.
    pub fn main(&self) -> &Arc<Source> {
        &self.0[0]
    }

    /// All of them, by their numbers.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.0.iter()
    }

    /// The file in which a place is.
    pub fn of(&self, place: Place) -> &Arc<Source> {
        self.0.get(usize::from(place.file)).unwrap_or_else(|| self.main())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32, end_column: u32) -> Place {
        Place { file: 0, line, column, end_column }
    }

    #[test]
    fn lines_end_at_every_kind_of_break() {
        let source = Source::new("f".into(), "\u{feff}a\r\nb\rc\n".into(), PathBuf::new());
        assert_eq!((1..=5).map(|line| source.line(line)).collect::<Vec<_>>(), ["a", "b", "c", "", ""]);
        assert_eq!(source.lines(), 4);
        assert_eq!(source.line(0), "");
    }

    #[test]
    fn places_stay_inside() {
        let source = Source::new("f".into(), "äb: c  \nnext".into(), PathBuf::new());
        assert_eq!(source.place((1, 5), (2, 1)), place(1, 5, 6));
        assert_eq!(source.place((9, 90), (9, 91)), place(2, 5, 5));
        assert_eq!(source.place_at(source.offset(1, 2), 1), place(1, 2, 3));
        assert_eq!(source.offset(1, 3), 3);
    }
}
