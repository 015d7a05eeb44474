//! Pictures, documents, films and sounds: their formats by name, where their data is, and what a document may be called.

use std::borrow::Cow;

use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Kind, Media, MediaKind, Part, Source};
use crate::contract::read::{Raw, Reading, Wrong, find, is_null};
use crate::contract::write::Writer;

/// Formats whose type is not `image/FORMAT`, `video/FORMAT` or `audio/FORMAT`.
const TYPES: [(MediaKind, &str, &str); 15] = [
    (MediaKind::Document, "pdf", "application/pdf"),
    (MediaKind::Document, "csv", "text/csv"),
    (MediaKind::Document, "doc", "application/msword"),
    (MediaKind::Document, "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (MediaKind::Document, "xls", "application/vnd.ms-excel"),
    (MediaKind::Document, "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (MediaKind::Document, "html", "text/html"),
    (MediaKind::Document, "txt", "text/plain"),
    (MediaKind::Document, "md", "text/markdown"),
    (MediaKind::Video, "mkv", "video/x-matroska"),
    (MediaKind::Video, "mov", "video/quicktime"),
    (MediaKind::Video, "flv", "video/x-flv"),
    (MediaKind::Video, "wmv", "video/x-ms-wmv"),
    (MediaKind::Video, "three_gp", "video/3gpp"),
    (MediaKind::Audio, "mp3", "audio/mpeg"),
];

/// The formats themselves.
const FORMATS: [(MediaKind, &[&str]); 4] = [
    (MediaKind::Image, &["png", "jpeg", "gif", "webp"]),
    (MediaKind::Document, &["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"]),
    (MediaKind::Video, &["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"]),
    (
        MediaKind::Audio,
        &[
            "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm",
            "webm",
        ],
    ),
];

/// How data in base64 begins, by its format.
const BEGINS: [(MediaKind, &str, &str); 5] = [
    (MediaKind::Image, "iVBORw0KGgo", "png"),
    (MediaKind::Image, "/9j/", "jpeg"),
    (MediaKind::Image, "R0lGOD", "gif"),
    (MediaKind::Image, "UklGR", "webp"),
    (MediaKind::Document, "JVBERi", "pdf"),
];

/// The longest name of a document.
const NAME_CHARS_MAX: usize = 200;

fn member(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image",
        MediaKind::Document => "document",
        MediaKind::Video => "video",
        MediaKind::Audio => "audio",
    }
}

pub fn kind_of(member: &str) -> Option<MediaKind> {
    FORMATS.iter().map(|(kind, _)| *kind).find(|kind| self::member(*kind) == member)
}

fn mime(kind: MediaKind, format: &str) -> Cow<'static, str> {
    let known = TYPES.iter().find(|(k, f, _)| *k == kind && *f == format);
    match (known, kind) {
        (Some((_, _, mime)), _) => Cow::Borrowed(mime),
        (None, MediaKind::Document) => format!("application/{format}").into(),
        (None, MediaKind::Image | MediaKind::Video | MediaKind::Audio) => format!("{}/{format}", member(kind)).into(),
    }
}

/// The format of a type, as its name or by how the data begins.
fn format<'m>(media: &'m Media<'_>) -> Option<&'m str> {
    let mime = media.mime.split(';').next().unwrap_or_default().trim();
    if let Some((_, format, _)) = TYPES.iter().find(|(k, _, m)| *k == media.what && *m == mime) {
        return Some(format);
    }
    let (_, formats) = FORMATS.iter().find(|(kind, _)| *kind == media.what)?;
    let own = mime.split_once('/').map_or("", |(_, own)| own);
    let named = |own: &str| formats.iter().find(|f| **f == own).copied();
    if let Some(format) = named(own).or_else(|| named(own.trim_start_matches("x-"))) {
        return Some(format);
    }
    match (own, &media.source) {
        ("jpg" | "pjpeg", _) => Some("jpeg"),
        ("wave" | "vnd.wave", _) => Some("wav"),
        ("", Source::Base64(data)) => {
            BEGINS.iter().find(|(k, begin, _)| *k == media.what && data.starts_with(begin)).map(|(_, _, f)| *f)
        }
        // Files of a store tell it by their names.
        ("", Source::File(name) | Source::Url(name)) => named(name.rsplit('.').next().unwrap_or_default()),
        (_, Source::Text(_)) => Some("txt"),
        (_, Source::Base64(_) | Source::File(_) | Source::Url(_)) => None,
    }
}

/// One block of media. A document in pieces is known to this dialect only.
pub fn read<'a>(r: &mut Reading<'a>, kind: MediaKind, raw: Raw<'a>, block: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let members = r.object(raw)?;
    let source = find(&members, "source").ok_or_else(|| r.wrong("has no `source`"))?;
    let Some(source) = r.within("source", |r| read_source(r, source))? else {
        return Ok(Kind::Native { kind: member(kind).into(), json: block }.into());
    };
    let mut media = Media::of(kind, source, "");
    for (name, raw) in members.into_iter().filter(|(_, raw)| !is_null(raw)) {
        match &*name {
            "source" => {}
            "format" => media.mime = mime(kind, &r.within("format", |r| r.text(raw))?),
            "name" => media.name = Some(r.within("name", |r| r.text(raw))?),
            "context" => media.context = Some(r.within("context", |r| r.text(raw))?),
            "citations" => {
                let members = r.within("citations", |r| r.object(raw))?;
                media.cite = find(&members, "enabled").is_some_and(|raw| raw.get() == "true");
            }
            other => r.extra(other, raw),
        }
    }
    Ok(Kind::Media(media).into())
}

fn read_source<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Option<Source<'a>>, Wrong> {
    let members = r.object(raw)?;
    let text = |r: &mut Reading<'a>, name: &'static str| {
        find(&members, name).map(|raw| r.within(name, |r| r.text(raw))).transpose()
    };
    if let Some(data) = text(r, "bytes")? {
        return Ok(Some(Source::Base64(data)));
    }
    if let Some(plain) = text(r, "text")? {
        return Ok(Some(Source::Text(plain)));
    }
    if let Some(raw) = find(&members, "s3Location") {
        return r.within("s3Location", |r| {
            let members = r.object(raw)?;
            let uri = find(&members, "uri").ok_or_else(|| r.wrong("has no `uri`"))?;
            if let Some(owner) = find(&members, "bucketOwner") {
                r.extra("bucketOwner", owner);
            }
            Ok(Some(Source::File(r.within("uri", |r| r.text(uri))?)))
        });
    }
    if find(&members, "content").is_some() {
        return Ok(None);
    }
    Err(r.wrong("has none of `bytes`, `text` and `s3Location`"))
}

/// A block of media that can be said here.
pub struct Block<'p> {
    media: &'p Media<'p>,
    format: Option<&'p str>,
    name: Option<Cow<'p, str>>,
}

impl<'p> Block<'p> {
    /// Or what is lost: a format that nobody takes here, a place that cannot be reached from here.
    pub fn of(media: &'p Media<'_>, names: &mut Names) -> Result<Block<'p>, Loss> {
        let format = format(media);
        let element = match (media.what, &media.source) {
            (_, Source::File(_)) => Element::FileId,
            (MediaKind::Image, Source::Url(_)) => Element::ImageUrl,
            (MediaKind::Document, Source::Url(_)) => Element::DocumentUrl,
            (MediaKind::Video | MediaKind::Audio, Source::Url(_)) => Element::MediaUrl,
            (MediaKind::Image, Source::Base64(_) | Source::Text(_)) => Element::ImageBase64,
            (MediaKind::Document, Source::Base64(_)) => Element::DocumentBase64,
            (MediaKind::Document, Source::Text(_)) => Element::DocumentText,
            (MediaKind::Video, Source::Base64(_) | Source::Text(_)) => Element::VideoBase64,
            (MediaKind::Audio, Source::Base64(_) | Source::Text(_)) => Element::AudioBase64,
        };
        match &media.source {
            Source::File(uri) | Source::Url(uri) if !uri.starts_with("s3://") => {
                return Err(Loss::value(element, "only data itself and objects in S3 can be sent here"));
            }
            Source::Text(_) if media.what != MediaKind::Document => {
                return Err(Loss::value(element, "this kind of media is no text"));
            }
            Source::File(_) | Source::Url(_) | Source::Base64(_) | Source::Text(_) => {}
        }
        if format.is_none() && media.what != MediaKind::Document {
            let told = if media.mime.is_empty() { "of an unknown type" } else { &media.mime };
            return Err(Loss::value(element, format!("the format ({told}) is not taken here")));
        }
        if format.is_none() && !media.mime.is_empty() {
            return Err(Loss::value(element, format!("the format ({}) is not taken here", media.mime)));
        }
        let name = (media.what == MediaKind::Document).then(|| names.unique(media.name.as_deref()));
        Ok(Block { media, format, name })
    }

    pub fn write(&self, w: &mut Writer) {
        let media = self.media;
        w.object_member(member(media.what), |w| {
            w.member_some("format", &self.format);
            w.member_some("name", &self.name);
            w.object_member("source", |w| match &media.source {
                Source::Base64(data) => w.member("bytes", data),
                Source::Text(text) => w.member("text", text),
                Source::File(uri) | Source::Url(uri) => w.object_member("s3Location", |w| w.member("uri", uri)),
            });
            w.member_some("context", &media.context);
            if media.cite {
                w.object_member("citations", |w| w.member("enabled", &true));
            }
        });
    }
}

/// Names of the documents of one request: no two may be the same.
#[derive(Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    fn unique<'n>(&mut self, name: Option<&'n str>) -> Cow<'n, str> {
        let legal = legal_name(name.unwrap_or_default());
        let mut unique = legal.clone();
        let mut count = 1;
        while self.0.iter().any(|known| *known == unique) {
            count += 1;
            let kept: String = legal.chars().take(NAME_CHARS_MAX - 8).collect();
            unique = format!("{kept} ({count})").into();
        }
        self.0.push(unique.clone().into_owned());
        unique
    }
}

/// Letters, digits, single blanks, hyphens, parentheses and brackets: of all else a hyphen is made. A legal name stays.
fn legal_name(name: &str) -> Cow<'_, str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '(' | ')' | '[' | ']');
    if !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(legal) && !name.contains("  ") {
        return Cow::Borrowed(name);
    }
    let mut made = String::with_capacity(name.len().min(NAME_CHARS_MAX));
    for c in name.trim().chars().take(NAME_CHARS_MAX) {
        match c {
            c if c.is_whitespace() && made.ends_with(' ') => {}
            c if c.is_whitespace() => made.push(' '),
            c if legal(c) => made.push(c),
            _ => made.push('-'),
        }
    }
    if made.is_empty() { Cow::Borrowed("document") } else { Cow::Owned(made) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_called_as_the_rule_says() {
        for (name, legal) in [
            ("Report (final) [2]", "Report (final) [2]"),
            ("report.pdf", "report-pdf"),
            ("Übersicht  2026\t!", "-bersicht 2026 -"),
            ("", "document"),
            ("   ", "document"),
        ] {
            assert_eq!(legal_name(name), legal, "{name:?}");
        }
        assert_eq!(legal_name(&"x".repeat(500)).len(), NAME_CHARS_MAX);
        let mut names = Names::default();
        let said: Vec<_> = ["a", "a", "a.pdf", "a-pdf"].map(|n| names.unique(Some(n)).into_owned()).into();
        assert_eq!(said, ["a", "a (2)", "a-pdf", "a-pdf (2)"], "no two are called the same");
    }

    #[test]
    fn formats_and_types_are_the_same_both_ways() {
        for (kind, formats) in FORMATS {
            for format in formats {
                let media = Media::of(kind, Source::Base64("AA==".into()), mime(kind, format));
                let back = self::format(&media);
                // One format of sound has two names.
                let same = if *format == "mpeg" && kind == MediaKind::Audio { "mp3" } else { format };
                assert_eq!(back, Some(same), "{kind:?} {format}");
            }
        }
        for (kind, mime, data, format) in [
            (MediaKind::Image, "image/jpg", "", Some("jpeg")),
            (MediaKind::Image, "", "/9j/4AAQ", Some("jpeg")),
            (MediaKind::Image, "image/bmp", "Qk0", None),
            (MediaKind::Document, "text/plain; charset=utf-8", "aGk=", Some("txt")),
            (MediaKind::Audio, "audio/x-wav", "", Some("wav")),
            (MediaKind::Document, "application/zip", "", None),
        ] {
            let media = Media::of(kind, Source::Base64(data.into()), mime);
            assert_eq!(self::format(&media), format, "{mime}");
        }
    }
}
