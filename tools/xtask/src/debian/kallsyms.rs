// SPDX-License-Identifier: GPL-2.0

//! The table of symbols in a kernel's image, in which the kernel itself looks names up. Debian's
//! packages have no `System.map` but the one of the debug information, which is ten times as large as
//! all else. `scripts/kallsyms.c` writes the table: the number of names; the names, whose bytes stand
//! for texts; a marker for each 256th name; the texts, and an index of them; the addresses.

use anyhow::Context;
use anyhow::Result;

/// Where the kernel's code begins, unless the kernel moves itself as it boots.
const TEXT: i64 = -0x7f00_0000;
/// There is a marker, the place of a name, for so many names.
const PER_MARKER: usize = 256;
/// Bytes that a name may take in the table: twice what the longest of a kernel do.
const LONGEST: usize = 512;

/// Returns the symbols of an image, which is not compressed, in the form of `System.map`.
pub fn system_map(image: &[u8]) -> Result<String> {
    let texts = Texts::find(image).context("the image has no texts that names are made of")?;
    let names = names(image, &texts).context("the image has no table of names")?;
    let offsets: Vec<i64> = (0..names.len())
        .map(|i| {
            // Each is relative to its own place.
            let at = texts.end + 4 * i;
            let offset = i32::from_le_bytes(word(image, at)?.to_le_bytes());
            Some(i64::from(offset) + i64::try_from(at).ok()?)
        })
        .collect::<Option<_>>()
        .context("the image has no table of addresses")?;
    let text = names
        .iter()
        .position(|name| name == "T_text")
        .context("the image has no symbol _text")?;
    let mut map = String::new();
    for (name, offset) in names.iter().zip(&offsets) {
        // The first character is the type.
        let (kind, name) = name.split_at_checked(1).context("a name is empty")?;
        map += &format!("{:016x} {kind} {name}\n", offset - offsets[text] + TEXT);
    }
    Ok(map)
}

/// The texts that the bytes of names stand for.
struct Texts<'a> {
    texts: Vec<&'a [u8]>,
    start: usize,
    /// Where their index ends, too.
    end: usize,
}

impl<'a> Texts<'a> {
    /// Finds them by the digits, each of which stands for itself.
    fn find(image: &'a [u8]) -> Option<Self> {
        let digits: Vec<u8> = (b'0'..=b'9').flat_map(|digit| [digit, 0]).collect();
        (0..image.len())
            .filter(|&at| image[at] == b'0' && image[at..].starts_with(&digits))
            .find_map(|at| Self::around(image, at))
    }

    /// The texts of which the one for zero is at a place, if the index says the same.
    fn around(image: &'a [u8], zero: usize) -> Option<Self> {
        let mut end = zero;
        for _ in b'0'..=u8::MAX {
            end += image.get(end..)?.iter().position(|&byte| byte == 0)? + 1;
        }
        let index = end.next_multiple_of(4);
        let end = index + 2 * 256;
        let places: Vec<usize> = image
            .get(index..end)?
            .chunks_exact(2)
            .map(|place| u16::from_le_bytes([place[0], place[1]]).into())
            .collect();
        let start = zero.checked_sub(places[usize::from(b'0')])?;
        if places[0] != 0 || !places.is_sorted_by(|place, next| place < next) {
            return None;
        }
        let text = |place| image.get(start + place..)?.split(|&byte| byte == 0).next();
        Some(Self {
            texts: places.into_iter().map(text).collect::<Option<_>>()?,
            start,
            end,
        })
    }
}

/// The names, each after its type.
fn names(image: &[u8], texts: &Texts<'_>) -> Option<Vec<String>> {
    // Markers end where the texts start, and begin with that of the first name, 0.
    let mut markers = texts.start;
    let mut place = u32::MAX;
    while place > 0 {
        markers = markers.checked_sub(4)?;
        place = word(image, markers).filter(|&before| before < place)?;
    }
    let count = (texts.start - markers) / 4;
    let last = usize::try_from(word(image, texts.start - 4)?).ok()?;
    // The last marker's names take up to so much, and the number of all is before the first.
    (0..PER_MARKER * LONGEST / 4).find_map(|words| {
        let start = (markers.checked_sub(last)? & !3).checked_sub(4 * words)?;
        let number = usize::try_from(word(image, start.checked_sub(4)?)?).ok()?;
        if number.div_ceil(PER_MARKER) != count {
            return None;
        }
        let (names, end) = expand(image, texts, start, number)?;
        (end.next_multiple_of(4) == markers).then_some(names)
    })
}

/// The names that start at a place, and where they end.
fn expand(
    image: &[u8],
    texts: &Texts<'_>,
    start: usize,
    number: usize,
) -> Option<(Vec<String>, usize)> {
    let mut at = start;
    let mut names = Vec::with_capacity(number);
    for _ in 0..number {
        let mut length = usize::from(*image.get(at)?);
        at += 1;
        if length >= 0x80 {
            length = (length & 0x7f) | (usize::from(*image.get(at)?) << 7);
            at += 1;
        }
        let name: Vec<u8> = image
            .get(at..at + length)?
            .iter()
            .flat_map(|&byte| texts.texts[usize::from(byte)])
            .copied()
            .collect();
        names.push(String::from_utf8(name).ok()?);
        at += length;
    }
    Some((names, at))
}

fn word(image: &[u8], at: usize) -> Option<u32> {
    let bytes = image.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn align(image: &mut Vec<u8>) {
        image.resize(image.len().next_multiple_of(4), 0);
    }

    /// An image that has `_text` and 299 more symbols, 16 bytes apart, after bytes that look like texts
    /// of a table; and the number of these bytes.
    fn image() -> (Vec<u8>, usize) {
        let mut texts: Vec<String> = (0..=255_u8)
            .map(|byte| match byte {
                b'!'..=b'~' => char::from(byte).to_string(),
                _ => format!("unused{byte}"),
            })
            .collect();
        texts[1] = "Tsymbol".to_string();
        let mut image =
            b"decoy\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00\x2c\x01\0\0".to_vec();
        align(&mut image);
        let before = image.len();

        image.extend(300_u32.to_le_bytes());
        let start = image.len();
        let mut markers: Vec<u32> = Vec::new();
        for i in 0..300 {
            if i % 256 == 0 {
                markers.push((image.len() - start).try_into().unwrap());
            }
            let name = match i {
                0 => b"T_text".to_vec(),
                1 => [&[1], [b'x'; 150].as_slice()].concat(),
                _ => [&[1], i.to_string().as_bytes()].concat(),
            };
            if name.len() >= 0x80 {
                image.push((name.len() & 0x7f | 0x80) as u8);
                image.push((name.len() >> 7) as u8);
            } else {
                image.push(name.len() as u8);
            }
            image.extend(name);
        }
        align(&mut image);
        image.extend(markers.into_iter().flat_map(u32::to_le_bytes));
        let start = image.len();
        let mut index = Vec::new();
        for text in &texts {
            index.extend(u16::try_from(image.len() - start).unwrap().to_le_bytes());
            image.extend(text.as_bytes());
            image.push(0);
        }
        align(&mut image);
        image.extend(index);
        for i in 0..300 {
            let at = i32::try_from(image.len()).unwrap();
            image.extend((0x10_0000 + 16 * i - at).to_le_bytes());
        }
        (image, before)
    }

    #[test]
    fn symbols_are_read() {
        let map = system_map(&image().0).unwrap();
        let lines: Vec<_> = map.lines().collect();
        assert_eq!(lines.len(), 300);
        assert_eq!(lines[0], "ffffffff81000000 T _text");
        let long = format!("ffffffff81000010 T symbol{}", "x".repeat(150));
        assert_eq!(lines[1], long);
        assert_eq!(lines[299], "ffffffff810012b0 T symbol299");
    }

    #[test]
    fn an_image_with_another_table_is_an_error() {
        let (image, before) = image();
        assert!(system_map(&image[..before]).is_err());
        assert!(system_map(&image[..image.len() - 1]).is_err());
        let index = image.len() - 4 * 300 - 2 * 256;
        for (place, byte) in [
            // One name too few, and one too many.
            (before, 299_u16.to_le_bytes()[0]),
            (before, 301_u16.to_le_bytes()[0]),
            // No _text.
            (before + 5, b'U'),
            // No text begins there.
            (index, 1),
        ] {
            let mut other = image.clone();
            other[place] = byte;
            assert!(system_map(&other).is_err(), "{place}");
        }
    }
}
