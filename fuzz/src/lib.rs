//! What must hold whatever bytes come: checked here for the fuzz targets, a function each.
//!
//! A check panics where something does not hold. What was found so is mended where it lies and stands as a test there.

pub mod dialect;
pub mod framing;
pub mod json;
pub mod names;

use bytes::Bytes;

/// Cuts in one place for each byte up to here: every place is tried where a text is short.
const SHORT: usize = 64;

/// Some ways to cut these bytes into pieces: whole, byte by byte where that is not much, and by chance. The chance is made of
/// the bytes themselves, so that what was found once is found again.
pub fn cuts(data: &[u8]) -> Vec<Vec<Bytes>> {
    let mut ways = vec![vec![data.len()]];
    if data.len() <= SHORT {
        ways.push((1..=data.len()).collect());
    }
    let mut state = data.iter().fold(data.len() as u64, |sum, b| sum.rotate_left(7) ^ u64::from(*b)) | 1;
    for largest in [data.len() / 200 + 3, data.len() / 8 + 3] {
        let (mut at, mut ends) = (0, Vec::new());
        while at < data.len() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            at = (at + (state >> 33) as usize % largest).min(data.len());
            ends.push(at);
        }
        ways.push(ends);
    }
    let pieces = |ends: Vec<usize>| {
        let mut from = 0;
        ends.into_iter().map(|end| Bytes::copy_from_slice(&data[std::mem::replace(&mut from, end)..end])).collect()
    };
    ways.into_iter().map(pieces).collect()
}
