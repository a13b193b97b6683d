//! A quick hash for maps whose keys clients may choose, such as names of rooms: words folded by a multiplication, keyed anew for each map,
//! so that nobody can look for names that collide.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes hashers with the key of one map.
#[derive(Clone)]
pub struct Keyed(u64, u64);

impl Default for Keyed {
    fn default() -> Keyed {
        // The standard library's randomness: two numbers that no client knows.
        let random = RandomState::new();
        Keyed(random.hash_one(1), random.hash_one(2) | 1)
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: self.0, key: self.1 }
    }
}

/// Hashes one key.
pub struct KeyedHasher {
    state: u64,
    key: u64,
}

impl KeyedHasher {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.state ^ word).wrapping_mul(u128::from(self.key));
        self.state = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for KeyedHasher {
    fn finish(&self) -> u64 {
        // The lowest and the highest bits are what maps look at.
        self.state.rotate_left(29) ^ self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        // Of a length below 2^56 nothing is lost, and the rest has at most seven bytes.
        self.fold(rest ^ (bytes.len() as u64).rotate_right(8));
    }

    fn write_u8(&mut self, n: u8) {
        self.fold(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.fold(n);
    }

    fn write_isize(&mut self, n: isize) {
        self.fold(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_spread() {
        let keyed = Keyed::default();
        let names = (0..20_000).map(|i| format!("room-{i}"));
        let hashes: Vec<u64> = names.map(|name| keyed.hash_one(name.as_str())).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        for shift in [0, 57] {
            let mut counts = [0; 128];
            hashes.iter().for_each(|hash| counts[(hash >> shift) as usize % 128] += 1);
            assert!(counts.iter().all(|n| (90..250).contains(n)), "{shift}: {counts:?}");
        }
        assert_ne!(keyed.hash_one("a"), Keyed::default().hash_one("a"));
        assert_ne!(keyed.hash_one("a"), keyed.hash_one("a\0"));
    }
}
