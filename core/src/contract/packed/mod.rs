//! Packed bodies (`content-encoding`), in both directions: unpacked as they come, a bounded piece at a time, so that what is
//! small on the wire cannot become large in memory.

mod unpacker;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::{HeaderMap, header};

use unpacker::Unpacker;

/// What is understood, as it is told to people.
pub const KNOWN: &str = "`gzip`, `deflate`, `br`, `zstd`";

/// Up to here any ratio is taken: the readers of bodies have bounds of their own.
const BYTES_AT_ANY_RATIO: u64 = 64 << 20;
/// Beyond it a byte may become so many. Repetitive JSON packs to a fiftieth; bombs begin at a thousandth.
const RATIO_MAX: u64 = 200;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
    Br,
    Zstd,
}

/// Why a body cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackedError {
    #[error("it is packed as `{0}`, which is not known here (known are {KNOWN}, one at a time)")]
    Unknown(String),
    #[error("it is said to be packed as {0}, and is not, or is damaged")]
    Damaged(&'static str),
    #[error("it ends before its end, packed as {0}")]
    CutOff(&'static str),
    #[error("it unpacks to more than {RATIO_MAX} times its size, which is no text")]
    Bomb,
}

impl Coding {
    /// What the headers say; `None` = it is not packed.
    pub fn of(headers: &HeaderMap) -> Result<Option<Coding>, PackedError> {
        let mut said = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(first) = said.next() else { return Ok(None) };
        let text = String::from_utf8_lossy(first.as_bytes()).trim().to_ascii_lowercase();
        match (&*text, said.next()) {
            ("" | "identity", None) => Ok(None),
            ("gzip" | "x-gzip", None) => Ok(Some(Coding::Gzip)),
            ("deflate", None) => Ok(Some(Coding::Deflate)),
            ("br", None) => Ok(Some(Coding::Br)),
            ("zstd", None) => Ok(Some(Coding::Zstd)),
            (_, more) => {
                let more = more.map_or_else(String::new, |v| format!(", {}", String::from_utf8_lossy(v.as_bytes())));
                Err(PackedError::Unknown(format!("{text}{more}").chars().take(64).collect()))
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Br => "br",
            Coding::Zstd => "zstd",
        }
    }
}

/// A body that is unpacked as it comes.
pub struct Unpacked<S> {
    inner: S,
    coding: Coding,
    unpacker: Unpacker,
    /// Came, and is not unpacked yet.
    piece: Bytes,
    /// There may be something to be had without more coming.
    holds: bool,
    /// The packed form has come to its own end.
    complete: bool,
    failed: bool,
    came: u64,
    gave: u64,
}

impl<S> Unpacked<S> {
    pub fn new(inner: S, coding: Coding) -> Self {
        Unpacked {
            inner,
            coding,
            unpacker: Unpacker::new(coding),
            piece: Bytes::new(),
            holds: false,
            complete: false,
            failed: false,
            came: 0,
            gave: 0,
        }
    }

    /// Unpacks some of what came.
    fn step(&mut self) -> Result<Vec<u8>, PackedError> {
        if self.complete {
            // What stands behind the end is nothing that the sender meant to say.
            self.piece.clear();
            self.holds = false;
            return Ok(Vec::new());
        }
        let step = self.unpacker.step(&self.piece).ok_or(PackedError::Damaged(self.coding.name()))?;
        self.piece.advance(step.taken);
        (self.complete, self.holds) = (step.complete, !step.out.is_empty());
        self.came += step.taken as u64;
        self.gave += step.out.len() as u64;
        if self.gave > BYTES_AT_ANY_RATIO && self.gave / RATIO_MAX > self.came {
            return Err(PackedError::Bomb);
        }
        if step.taken == 0 && step.out.is_empty() && !self.piece.is_empty() && !self.complete {
            // Neither takes nor gives: it would for ever.
            return Err(PackedError::Damaged(self.coding.name()));
        }
        Ok(step.out)
    }
}

impl<S, E> Stream for Unpacked<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: From<PackedError>,
{
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        while !me.failed {
            if !me.piece.is_empty() || me.holds {
                match me.step() {
                    Ok(out) if out.is_empty() => continue,
                    Ok(out) => return Poll::Ready(Some(Ok(out.into()))),
                    Err(error) => {
                        me.failed = true;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                }
            }
            match ready!(Pin::new(&mut me.inner).poll_next(cx)) {
                Some(Ok(piece)) => me.piece = piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // A body without a byte is an empty one.
                None if me.complete || me.came == 0 => return Poll::Ready(None),
                None => {
                    me.failed = true;
                    return Poll::Ready(Some(Err(PackedError::CutOff(me.coding.name()).into())));
                }
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;
    use crate::contract::base64;

    /// What `text` is packed to in brotli, for which we have no packer.
    const BR_TEXT: &str = "GxcB+I2TVOU9r0V0tvZUV19Vslo9cI0pEjEB";
    /// 128 MiB of nothing.
    const BR_BOMB: &str = "y///P/gnAOKxQCD3/o///3/wTwDEYRGA7v0f////4J8AiMMCAN37P/7//8E/ARCHBQC693/8//+DfwIgDgsAdO//+P//B/8EQBwW\
        AOje//H//w/+CYA4LADQvf/j//8f/BMAcVgAoHv/x///P/gnAOKwAED3/o///3/wTwDEYQGA7v0f////4J8AiMMCAN37P/7//8E/\
        ARCHBQC693/8//+DfwIgDgsAdO//+P//B/8EQBwWAOje//H//w/+CYA4LADQvf/L//8//BMAcVgAoHv/Bw==";

    fn text() -> Vec<u8> {
        b"{\"choices\":[]}".repeat(20)
    }

    fn packed(coding: Coding, plain: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::best();
        match coding {
            Coding::Gzip => {
                let mut packer = flate2::GzBuilder::new().filename("a").comment("b").write(Vec::new(), level);
                packer.write_all(plain).unwrap();
                packer.finish().unwrap()
            }
            Coding::Deflate => {
                let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), level);
                packer.write_all(plain).unwrap();
                packer.finish().unwrap()
            }
            Coding::Br => base64::decode(if plain.len() > 1_000 { BR_BOMB } else { BR_TEXT }).unwrap(),
            Coding::Zstd => {
                let mut out = vec![0; zstd_safe::compress_bound(plain.len())];
                let length = zstd_safe::compress(&mut out[..], plain, 3).unwrap();
                out.truncate(length);
                out
            }
        }
    }

    /// Unpacks pieces of this size: what came, the largest piece of it, and how it ended.
    fn unpack(coding: Coding, packed: &[u8], by: usize) -> (Vec<u8>, usize, Result<(), PackedError>) {
        let pieces: Vec<Result<Bytes, PackedError>> =
            packed.chunks(by).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let mut unpacked = Unpacked::new(stream::iter(pieces), coding);
        let (mut all, mut largest) = (Vec::new(), 0);
        while let Some(piece) = unpacked.next().now_or_never().expect("nothing is waited for") {
            match piece {
                Ok(piece) => {
                    largest = largest.max(piece.len());
                    all.extend_from_slice(&piece);
                }
                Err(error) => return (all, largest, Err(error)),
            }
        }
        (all, largest, Ok(()))
    }

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd];

    #[test]
    fn what_is_packed_is_unpacked_whatever_the_pieces() {
        for coding in ALL {
            let packed = packed(coding, &text());
            for by in [1, 7, packed.len()] {
                let (all, _, ended) = unpack(coding, &packed, by);
                assert_eq!((all, ended), (text(), Ok(())), "{coding:?} in pieces of {by}");
            }
            let (_, _, ended) = unpack(coding, &packed[..packed.len() - 1], 5);
            assert_eq!(ended, Err(PackedError::CutOff(coding.name())), "a cut one");
            let (_, _, ended) = unpack(coding, b"{\"choices\":[]}", 3);
            assert!(ended.is_err(), "{coding:?}: one that is not packed at all");
            assert_eq!(unpack(coding, b"", 1).2, Ok(()), "an empty one");
        }
        let mut damaged = packed(Coding::Gzip, &text());
        let sum = damaged.len() - 8;
        damaged[sum] ^= 1;
        let (_, _, ended) = unpack(Coding::Gzip, &damaged, 9);
        assert_eq!(ended, Err(PackedError::Damaged("gzip")), "a wrong checksum");
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        bare.write_all(&text()).unwrap();
        let (all, _, ended) = unpack(Coding::Deflate, &bare.finish().unwrap(), 3);
        assert_eq!((all, ended), (text(), Ok(())), "deflate without zlib around it");
    }

    #[test]
    fn bombs_go_off_in_small_pieces_and_not_to_their_end() {
        let plain = vec![0; 128 << 20];
        for coding in ALL {
            let packed = packed(coding, &plain);
            let (all, largest, ended) = unpack(coding, &packed, packed.len());
            assert_eq!(ended, Err(PackedError::Bomb), "{coding:?}");
            assert!(largest <= 64 << 10 && all.len() < plain.len(), "{coding:?}: {largest} {}", all.len());
        }
    }

    #[test]
    fn only_one_known_coding_is_taken() {
        let unknown = |text: &str| Err(PackedError::Unknown(text.to_owned()));
        for (values, expected) in [
            (&[][..], Ok(None)),
            (&["identity"][..], Ok(None)),
            (&["GZIP"][..], Ok(Some(Coding::Gzip))),
            (&["x-gzip"][..], Ok(Some(Coding::Gzip))),
            (&["br"][..], Ok(Some(Coding::Br))),
            (&["zstd"][..], Ok(Some(Coding::Zstd))),
            (&["deflate"][..], Ok(Some(Coding::Deflate))),
            (&["compress"][..], unknown("compress")),
            (&["gzip, br"][..], unknown("gzip, br")),
            (&["gzip", "br"][..], unknown("gzip, br")),
        ] {
            let headers = values.iter().map(|v| (header::CONTENT_ENCODING, v.parse().unwrap())).collect();
            assert_eq!(Coding::of(&headers), expected, "{values:?}");
        }
    }
}
