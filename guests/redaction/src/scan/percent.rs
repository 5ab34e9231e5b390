//! Percent-encoded texts (RFC 3986, section 2.1), decoded with the way back.

/// A decoded text.
#[derive(Debug)]
pub struct Decoded {
    pub bytes: Vec<u8>,
    /// Where each byte begins in what was decoded, and the end of it.
    starts: Vec<usize>,
}

/// None if there is nothing to decode. What is no escape stays as it is.
pub fn decode(text: &[u8]) -> Option<Decoded> {
    let first = (0..text.len()).find(|at| escape(text, *at).is_some())?;
    let mut bytes = text[..first].to_vec();
    let mut starts: Vec<usize> = (0..first).collect();
    let mut at = first;
    while at < text.len() {
        starts.push(at);
        match escape(text, at) {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    starts.push(text.len());
    Some(Decoded { bytes, starts })
}

impl Decoded {
    /// The stretch of the text that a stretch of the decoded bytes came from.
    pub fn origin(&self, range: std::ops::Range<usize>) -> std::ops::Range<usize> {
        self.starts[range.start]..self.starts[range.end]
    }
}

/// The byte that the escape at this place stands for.
fn escape(text: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = text.get(at..at + 3)? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    Some(digit(*high)? << 4 | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_finds_the_way_back() {
        let decoded = decode(b"a%40b%4").unwrap();
        assert_eq!(decoded.bytes, b"a@b%4");
        assert_eq!(decoded.origin(1..2), 1..4);
        assert_eq!(decoded.origin(0..5), 0..7);
        assert_eq!(decode("é%C3%A9".as_bytes()).unwrap().bytes, "éé".as_bytes());
    }

    #[test]
    fn what_is_no_escape_stays() {
        for text in ["", "%", "100%", "%zz", "% 40"] {
            assert!(decode(text.as_bytes()).is_none(), "{text}");
        }
    }
}
