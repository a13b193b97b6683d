//! How many columns of a terminal a text takes: East Asian characters and emoji take two, marks that sit on others none (UAX #11 and the
//! general categories Mn, Me and Cf, as terminals take them; whole blocks, where a few unassigned characters make no difference).

/// Two columns, first and last of each range.
const WIDE: [(u32, u32); 44] = [
    (0x1100, 0x115f),
    (0x231a, 0x231b),
    (0x2329, 0x232a),
    (0x23e9, 0x23ec),
    (0x23f0, 0x23f0),
    (0x23f3, 0x23f3),
    (0x25fd, 0x25fe),
    (0x2614, 0x2615),
    (0x2648, 0x2653),
    (0x267f, 0x267f),
    (0x2693, 0x2693),
    (0x26a1, 0x26a1),
    (0x26aa, 0x26ab),
    (0x26bd, 0x26be),
    (0x26c4, 0x26c5),
    (0x26ce, 0x26ce),
    (0x26d4, 0x26d4),
    (0x26ea, 0x26ea),
    (0x26f2, 0x26f3),
    (0x26f5, 0x26f5),
    (0x26fa, 0x26fa),
    (0x26fd, 0x26fd),
    (0x2705, 0x2705),
    (0x270a, 0x270b),
    (0x2728, 0x2728),
    (0x274c, 0x274c),
    (0x274e, 0x274e),
    (0x2753, 0x2755),
    (0x2757, 0x2757),
    (0x2795, 0x2797),
    (0x27b0, 0x27b0),
    (0x27bf, 0x27bf),
    (0x2b1b, 0x2b1c),
    (0x2b50, 0x2b50),
    (0x2b55, 0x2b55),
    (0x2e80, 0x303e),
    (0x3041, 0xa4cf),
    (0xa960, 0xa97f),
    (0xac00, 0xd7a3),
    (0xf900, 0xfaff),
    (0xfe10, 0xfe19),
    (0xfe30, 0xfe6f),
    (0xff01, 0xff60),
    (0xffe0, 0xffe6),
];
/// Two columns, above the basic plane.
const WIDE_ABOVE: [(u32, u32); 47] = [
    (0x16fe0, 0x18cff),
    (0x1aff0, 0x1b2ff),
    (0x1f004, 0x1f004),
    (0x1f0cf, 0x1f0cf),
    (0x1f18e, 0x1f18e),
    (0x1f191, 0x1f19a),
    (0x1f200, 0x1f320),
    (0x1f32d, 0x1f335),
    (0x1f337, 0x1f37c),
    (0x1f37e, 0x1f393),
    (0x1f3a0, 0x1f3ca),
    (0x1f3cf, 0x1f3d3),
    (0x1f3e0, 0x1f3f0),
    (0x1f3f4, 0x1f3f4),
    (0x1f3f8, 0x1f43e),
    (0x1f440, 0x1f440),
    (0x1f442, 0x1f4fc),
    (0x1f4ff, 0x1f53d),
    (0x1f54b, 0x1f54e),
    (0x1f550, 0x1f567),
    (0x1f57a, 0x1f57a),
    (0x1f595, 0x1f596),
    (0x1f5a4, 0x1f5a4),
    (0x1f5fb, 0x1f64f),
    (0x1f680, 0x1f6c5),
    (0x1f6cc, 0x1f6cc),
    (0x1f6d0, 0x1f6d2),
    (0x1f6d5, 0x1f6df),
    (0x1f6eb, 0x1f6ef),
    (0x1f6f4, 0x1f6ff),
    (0x1f774, 0x1f77f),
    (0x1f7d9, 0x1f7ff),
    (0x1f80c, 0x1f80f),
    (0x1f848, 0x1f84f),
    (0x1f85a, 0x1f85f),
    (0x1f888, 0x1f88f),
    (0x1f8ae, 0x1f8af),
    (0x1f8b2, 0x1f8ff),
    (0x1f90c, 0x1f93a),
    (0x1f93c, 0x1f945),
    (0x1f947, 0x1f9ff),
    (0x1fa54, 0x1fa5f),
    (0x1fa6e, 0x1faff),
    (0x1fb93, 0x1fb93),
    (0x1fbcb, 0x1fbef),
    (0x1fbfa, 0x1fbff),
    (0x20000, 0x3fffd),
];
/// No column.
const NONE: [(u32, u32); 34] = [
    (0x300, 0x36f),
    (0x483, 0x489),
    (0x591, 0x5bd),
    (0x5bf, 0x5bf),
    (0x5c1, 0x5c2),
    (0x5c4, 0x5c5),
    (0x610, 0x61a),
    (0x64b, 0x65f),
    (0x670, 0x670),
    (0x6d6, 0x6dc),
    (0x6df, 0x6e4),
    (0x6e7, 0x6e8),
    (0x6ea, 0x6ed),
    (0x900, 0x902),
    (0x93a, 0x93a),
    (0x93c, 0x93c),
    (0x941, 0x948),
    (0x94d, 0x94d),
    (0x951, 0x957),
    (0x962, 0x963),
    (0xe31, 0xe31),
    (0xe34, 0xe3a),
    (0xe47, 0xe4e),
    (0x1160, 0x11ff),
    (0x1ab0, 0x1ace),
    (0x1dc0, 0x1dff),
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x2064),
    (0x20d0, 0x20f0),
    (0x302a, 0x302d),
    (0x3099, 0x309a),
    (0xfe00, 0xfe0f),
    (0xfe20, 0xfe2f),
];

/// Columns of a character.
#[must_use]
pub fn of(c: char) -> usize {
    let c = u32::from(c);
    let within = |ranges: &[(u32, u32)]| ranges.iter().any(|(first, last)| (*first..=*last).contains(&c));
    match c {
        0x20..=0x7e => 1,
        _ if within(&NONE) => 0,
        _ if within(&WIDE) || within(&WIDE_ABOVE) => 2,
        _ => 1,
    }
}

/// Columns of a text.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(of).sum()
}

/// The text, with blanks behind it up to this width.
#[must_use]
pub fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::notice::visible;
    use unicode_width::UnicodeWidthChar;

    #[test]
    fn texts() {
        for (text, want) in [
            ("", 0),
            ("lobby", 5),
            ("wörld", 5),
            ("日本語", 6),
            ("한국어", 6),
            ("😀!", 3),
            ("e\u{301}", 1),
            ("ไทย", 3),
            ("ﾊﾛｰ", 3),
        ] {
            assert_eq!(width(text), want, "{text}");
        }
        assert_eq!([padded("日本", 6), padded("日本", 3)], ["日本  ", "日本"]);
    }

    /// Against a table that is made from Unicode's own files: marks of rare scripts are taken for letters here, and nothing else differs.
    #[test]
    fn nearly_every_character_is_as_wide_as_unicode_says() {
        // What hides is written as an escape before it comes here.
        let shown = |c: &char| visible(c.encode_utf8(&mut [0; 4])).chars().count() == 1;
        let differs = |c: &char| c.width().is_some_and(|width| width != of(*c));
        let other: Vec<char> = (0x20..0x3_0000).filter_map(char::from_u32).filter(shown).filter(differs).collect();
        let common = |c: &&char| matches!(u32::from(**c), 0x20..=0x5bf | 0x3041..=0x3096 | 0x309b..=0x30ff | 0x3131..=0x318e | 0x4e00..=0x9fff | 0xac00..=0xd7a3 | 0xff01..=0xff9f | 0x1f300..=0x1f64f);
        assert_eq!(other.iter().filter(common).collect::<Vec<_>>(), [] as [&char; 0]);
        assert!(other.len() < 4_000, "{}", other.len());
    }
}
