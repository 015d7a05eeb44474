//! The four packed forms, a step at a time: some bytes in, at most `PIECE_BYTES` out.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::Coding;

/// So much is unpacked at a time.
pub const PIECE_BYTES: usize = 64 << 10;
/// Windows of zstd up to 8 MiB, which is what HTTP allows (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// The header of gzip may hold a name and a comment; nobody sends such with a body.
const GZIP_HEADER_BYTES_MAX: usize = 4 << 10;

type Brotli = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

pub enum Unpacker {
    Gzip(Box<Gzip>),
    /// `deflate` is the zlib format; some servers send it bare. The first byte tells.
    Deflate(Option<Box<Decompress>>),
    Br(Box<Brotli>),
    Zstd(Box<DCtx<'static>>),
}

/// What one step came to. Where nothing was given, all was that can be had without more coming.
#[derive(Default)]
pub struct Step {
    pub taken: usize,
    pub out: Vec<u8>,
    pub complete: bool,
}

impl Unpacker {
    pub fn new(coding: Coding) -> Self {
        let alloc = StandardAlloc::default;
        match coding {
            Coding::Gzip => Unpacker::Gzip(Box::default()),
            Coding::Deflate => Unpacker::Deflate(None),
            Coding::Br => Unpacker::Br(Box::new(BrotliState::new(alloc(), alloc(), alloc()))),
            Coding::Zstd => {
                let mut context = DCtx::create();
                let set = context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX));
                debug_assert!(set.is_ok(), "the bound is one that zstd knows");
                Unpacker::Zstd(Box::new(context))
            }
        }
    }

    /// `None` = it is damaged, or is packed in another way.
    pub fn step(&mut self, piece: &[u8]) -> Option<Step> {
        match self {
            Unpacker::Gzip(gzip) => gzip.step(piece),
            Unpacker::Deflate(inflate) => {
                let Some(first) = piece.first().copied().or(inflate.is_some().then_some(0)) else {
                    return Some(Step::default());
                };
                let is_zlib = first & 0x0f == 8 && first >> 4 <= 7;
                deflated(inflate.get_or_insert_with(|| Box::new(Decompress::new(is_zlib))), piece)
            }
            Unpacker::Br(state) => brotli(state, piece),
            Unpacker::Zstd(context) => zstd(context, piece),
        }
    }
}

fn deflated(inflate: &mut Decompress, piece: &[u8]) -> Option<Step> {
    let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
    let mut out = vec![0; PIECE_BYTES];
    let status = inflate.decompress(piece, &mut out, FlushDecompress::None).ok()?;
    out.truncate((inflate.total_out() - before_out) as usize);
    let taken = (inflate.total_in() - before_in) as usize;
    Some(Step { taken, out, complete: status == Status::StreamEnd })
}

fn brotli(state: &mut Brotli, piece: &[u8]) -> Option<Step> {
    let mut out = vec![0; PIECE_BYTES];
    let (mut left, mut taken, mut room, mut given, mut all) = (piece.len(), 0, out.len(), 0, 0);
    let came = BrotliDecompressStream(&mut left, &mut taken, piece, &mut room, &mut given, &mut out, &mut all, state);
    out.truncate(given);
    match came {
        BrotliResult::ResultSuccess => Some(Step { taken, out, complete: true }),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Some(Step { taken, out, complete: false }),
        BrotliResult::ResultFailure => None,
    }
}

fn zstd(context: &mut DCtx<'static>, piece: &[u8]) -> Option<Step> {
    let mut out = vec![0; PIECE_BYTES];
    let (mut from, mut to) = (InBuffer::around(piece), OutBuffer::around(&mut out[..]));
    let wanted = context.decompress_stream(&mut to, &mut from).ok()?;
    let given = to.pos();
    out.truncate(given);
    Some(Step { taken: from.pos(), out, complete: wanted == 0 })
}

/// A header, a bare deflated body, and the checksum and size of what was packed.
#[derive(Default)]
pub struct Gzip {
    /// The header, or the trailer, as far as it has come.
    carry: Vec<u8>,
    inflate: Option<Decompress>,
    ended: bool,
    sum: crc32fast::Hasher,
    bytes: u32,
}

impl Gzip {
    fn step(&mut self, piece: &[u8]) -> Option<Step> {
        if self.ended {
            return self.trailer(piece);
        }
        let Some(inflate) = &mut self.inflate else {
            return self.header(piece);
        };
        let step = deflated(inflate, piece)?;
        self.sum.update(&step.out);
        self.bytes = self.bytes.wrapping_add(step.out.len() as u32);
        self.ended = step.complete;
        Some(Step { complete: false, ..step })
    }

    fn header(&mut self, piece: &[u8]) -> Option<Step> {
        let before = self.carry.len();
        self.carry.extend_from_slice(&piece[..piece.len().min(GZIP_HEADER_BYTES_MAX)]);
        let length = header_length(&self.carry)?;
        if let Some(length) = length {
            self.carry.clear();
            self.inflate = Some(Decompress::new(false));
            return Some(Step { taken: length - before, ..Step::default() });
        }
        let taken = self.carry.len() - before;
        (self.carry.len() < GZIP_HEADER_BYTES_MAX).then_some(Step { taken, ..Step::default() })
    }

    fn trailer(&mut self, piece: &[u8]) -> Option<Step> {
        let taken = piece.len().min(8 - self.carry.len());
        self.carry.extend_from_slice(&piece[..taken]);
        let mut step = Step { taken, ..Step::default() };
        if let Ok(trailer) = <[u8; 8]>::try_from(&self.carry[..]) {
            let sum = std::mem::take(&mut self.sum).finalize();
            let expected: Vec<u8> = sum.to_le_bytes().into_iter().chain(self.bytes.to_le_bytes()).collect();
            step.complete = trailer[..] == expected[..];
            return step.complete.then_some(step);
        }
        Some(step)
    }
}

/// The length of a header that is whole; `Some(None)` = more of it must come, `None` = it is none.
#[expect(clippy::option_option, reason = "damaged and not yet whole are two things")]
fn header_length(bytes: &[u8]) -> Option<Option<usize>> {
    const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return None;
    }
    let Some(flags) = bytes.get(3).filter(|_| bytes.len() >= 10) else { return Some(None) };
    let mut at = 10;
    if flags & 4 != 0 {
        let Some(size) = bytes.get(at..at + 2) else { return Some(None) };
        at += 2 + usize::from(u16::from_le_bytes([size[0], size[1]]));
    }
    for text in [8, 16] {
        if flags & text != 0 {
            let Some(end) = bytes.get(at..).and_then(|rest| memchr::memchr(0, rest)) else { return Some(None) };
            at += end + 1;
        }
    }
    at += if flags & 2 != 0 { 2 } else { 0 };
    Some((bytes.len() >= at).then_some(at))
}
