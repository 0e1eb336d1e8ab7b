//! Changes inputs at random, in the ways that decoders mind.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use super::INPUT_BYTES_MAX;

/// Numbers at which lengths, counts and tags go wrong.
const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    250,
    251,
    252,
    253,
    255,
    256,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

/// A seed, changed a few times, or now and then something else altogether.
pub(crate) fn input(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if seeds.is_empty() || random.random_ratio(1, 50) {
        let length = random.random_range(0..300);
        let mut bytes = vec![0; length];
        random.fill_bytes(&mut bytes);
        return bytes;
    }
    let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
    for _ in 0..random.random_range(1..=6) {
        change(random, &mut bytes, seeds);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(random: &mut StdRng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.random_range(0..=bytes.len());
    let number = NUMBERS[random.random_range(0..NUMBERS.len())];
    match random.random_range(0..12) {
        0 => set(bytes, at, |byte| byte ^ (1 << (number % 8))),
        1 => set(bytes, at, |_| number as u8),
        2 => {
            let byte = random.random();
            set(bytes, at, |_| byte);
        }
        3 => bytes.truncate(at),
        4 => bytes.insert(at, number as u8),
        5 => {
            let end = random.random_range(at..=bytes.len().min(at + 40));
            bytes.drain(at..end);
        }
        6 => {
            let end = random.random_range(at..=bytes.len().min(at + 200));
            let part = bytes[at..end].to_vec();
            let most = if random.random_ratio(1, 20) { 100 } else { 3 };
            for _ in 0..random.random_range(1..=most) {
                splice(bytes, at, &part);
            }
        }
        7 => {
            let other = &seeds[random.random_range(0..seeds.len())];
            let from = random.random_range(0..=other.len());
            let part = &other[from..];
            splice(bytes, at, part);
        }
        8 => over(bytes, at, &number.to_le_bytes()[..1 << random.random_range(0..4)]),
        9 => over(bytes, at, &number.to_be_bytes()[8 - (1 << random.random_range(0..4))..]),
        // A number as the codec writes it: a tag, then two, four, eight or sixteen bytes.
        10 => {
            let width = random.random_range(1..=4usize);
            let wide = [number.to_le_bytes(), number.to_le_bytes()].concat();
            let tagged = [&[250 + width as u8], &wide[..1 << width]].concat();
            if random.random() { splice(bytes, at, &tagged) } else { over(bytes, at, &tagged) }
        }
        _ => {
            let deep = [&b"[["[..], b"{\"a\":", b"\xff\xff", b"%00", b"..", b"\r\n", b"-1", b"1e999"];
            let part = deep[random.random_range(0..deep.len())];
            let most = if random.random_ratio(1, 10) { 500 } else { 2 };
            for _ in 0..random.random_range(1..=most) {
                splice(bytes, at, part);
            }
        }
    }
}

fn set(bytes: &mut [u8], at: usize, value: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value(*byte);
    }
}

fn over(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes.iter_mut().skip(at).zip(part).for_each(|(byte, other)| *byte = *other);
}

fn splice(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    if bytes.len() + part.len() <= INPUT_BYTES_MAX {
        bytes.splice(at..at, part.iter().copied());
    }
}
