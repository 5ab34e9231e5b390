//! A file's text, and places in it.

/// A configuration file as it was read.
#[derive(Debug)]
pub struct Source {
    name: String,
    text: String,
    /// Byte offset of the start of each line.
    line_starts: Vec<usize>,
}

/// A stretch of one line. Lines and columns count from 1, columns in characters; the end is exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: u32,
    /// Column of the first character.
    pub column: u32,
    /// Column after the last character.
    pub end_column: u32,
}

impl Source {
    /// Keeps `text`, less a byte-order mark, under the name that messages use.
    pub fn new(name: String, text: String) -> Self {
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
        Self { name, text, line_starts }
    }

    /// The file's name as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
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
        Place { line: at, column, end_column: end.max(column) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_every_kind_of_break() {
        let source = Source::new("f".into(), "\u{feff}a\r\nb\rc\n".into());
        assert_eq!((1..=5).map(|line| source.line(line)).collect::<Vec<_>>(), ["a", "b", "c", "", ""]);
        assert_eq!(source.lines(), 4);
        assert_eq!(source.line(0), "");
    }

    #[test]
    fn places_stay_inside() {
        let source = Source::new("f".into(), "äb: c  \nnext".into());
        assert_eq!(source.place((1, 5), (2, 1)), Place { line: 1, column: 5, end_column: 6 });
        assert_eq!(source.place((9, 90), (9, 91)), Place { line: 2, column: 5, end_column: 5 });
        assert_eq!(source.place_at(source.offset(1, 2), 1), Place { line: 1, column: 2, end_column: 3 });
        assert_eq!(source.offset(1, 3), 3);
    }
}
