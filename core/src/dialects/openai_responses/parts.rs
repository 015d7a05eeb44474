//! What messages and results of tools are made of: texts, refusals, pictures, files.

use std::borrow::Cow;

use crate::contract::canonical::CacheMark;
use crate::contract::canonical::element::{Element, Loss};
use crate::contract::canonical::part::{Citation, Kind, Media, MediaKind, Part, Source, data_url};
use crate::contract::read::{Members, Raw, Reading, Wrong, as_text, as_whole, find, is_list, loose};
use crate::contract::write::Writer;

/// A text, or a list of parts.
pub fn content<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Vec<Part<'a>>, Wrong> {
    if is_list(raw) {
        return r.each(raw, part);
    }
    let text = r.text(raw).map_err(|wrong| Wrong { why: "must be a text or a list of parts".to_owned(), ..wrong })?;
    Ok(vec![Part::text(text)])
}

/// A member that is a text, if it is there.
pub fn text<'a>(r: &mut Reading<'a>, members: &Members<'a>, name: &'static str) -> Result<Option<Cow<'a, str>>, Wrong> {
    find(members, name).map(|raw| r.within(name, |r| r.text(raw))).transpose()
}

/// A member that is a text, and must be there.
pub fn need<'a>(r: &mut Reading<'a>, members: &Members<'a>, name: &'static str) -> Result<Cow<'a, str>, Wrong> {
    match text(r, members, name)? {
        Some(text) => Ok(text),
        None => r.within(name, |r| Err(r.wrong("is missing"))),
    }
}

/// Members that were not understood.
pub fn rest<'a>(r: &mut Reading<'a>, members: &Members<'a>, known: &[&str]) {
    for (name, raw) in members.iter().filter(|(name, _)| !known.contains(&&**name)) {
        r.extra(name, raw);
    }
}

fn part<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Part<'a>, Wrong> {
    let members = r.object(raw)?;
    let kind = need(r, &members, "type")?;
    let known: &[&str] = match &*kind {
        "input_text" | "output_text" | "text" => &["text", "annotations", "logprobs"],
        "refusal" => &["refusal"],
        "input_image" => &["image_url", "file_id", "detail"],
        "input_file" => &["file_id", "file_url", "file_data", "filename", "detail"],
        "input_audio" => &["input_audio"],
        // A part that only this dialect knows.
        _ => return Ok(Kind::Native { kind, json: raw }.into()),
    };
    let read = match &*kind {
        "refusal" => Kind::Refusal(need(r, &members, "refusal")?),
        "input_image" => Kind::Media(image(r, &members)?),
        "input_file" => Kind::Media(file(r, &members)?),
        "input_audio" => Kind::Media(audio(r, &members)?),
        _ => Kind::Text { text: need(r, &members, "text")?, citations: citations(&members) },
    };
    for (name, raw) in members.iter().filter(|(name, _)| !known.contains(&&**name)) {
        if !matches!(&**name, "type" | "prompt_cache_breakpoint") {
            r.extra(name, raw);
        }
    }
    Ok(Part { cache: cache_mark(&members), ..read.into() })
}

fn cache_mark(members: &Members<'_>) -> Option<CacheMark> {
    let mark = loose(find(members, "prompt_cache_breakpoint")?);
    let ttl = find(&mark, "ttl").and_then(as_text);
    Some(if ttl.as_deref() == Some("12h") { CacheMark::Hour } else { CacheMark::Minutes5 })
}

fn citations<'a>(members: &Members<'a>) -> Vec<Citation<'a>> {
    let list = find(members, "annotations").and_then(|raw| serde_json::from_str::<Vec<Raw<'a>>>(raw.get()).ok());
    list.into_iter().flatten().map(citation).collect()
}

/// `{type: url_citation, url, title, start_index, end_index}`, or one of a file.
pub fn citation(raw: Raw<'_>) -> Citation<'_> {
    let members = loose(raw);
    let text = |name: &str| find(&members, name).and_then(as_text);
    let whole = |name: &str| find(&members, name).and_then(as_whole);
    Citation {
        url: text("url"),
        title: text("title").or_else(|| text("filename")),
        cited: None,
        start: whole("start_index"),
        end: whole("end_index"),
        json: Some(raw),
    }
}

/// Base64 inside, or an address.
fn source<'a>(url: Cow<'a, str>) -> (Source<'a>, Cow<'a, str>) {
    match url {
        Cow::Borrowed(text) => match data_url(text) {
            Some((mime, data)) => (Source::Base64(data.into()), mime.into()),
            None => (Source::Url(text.into()), "".into()),
        },
        Cow::Owned(text) => match data_url(&text) {
            Some((mime, data)) => (Source::Base64(data.to_owned().into()), mime.to_owned().into()),
            None => (Source::Url(text.into()), "".into()),
        },
    }
}

fn image<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Media<'a>, Wrong> {
    let (source, mime) = match (text(r, members, "image_url")?, text(r, members, "file_id")?) {
        (Some(url), _) => source(url),
        (None, Some(id)) => (Source::File(id), "".into()),
        (None, None) => return Err(r.wrong("has neither `image_url` nor `file_id`")),
    };
    Ok(Media { detail: text(r, members, "detail")?, ..Media::of(MediaKind::Image, source, mime) })
}

fn file<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Media<'a>, Wrong> {
    let (id, url) = (text(r, members, "file_id")?, text(r, members, "file_url")?);
    let (source, mime) = match (id, url, text(r, members, "file_data")?) {
        (Some(id), ..) => (Source::File(id), "".into()),
        (None, Some(url), _) => source(url),
        (None, None, Some(data)) => match data.starts_with("data:") {
            true => source(data),
            false => (Source::Base64(data), "application/pdf".into()),
        },
        (None, None, None) => return Err(r.wrong("has none of `file_id`, `file_url`, `file_data`")),
    };
    let media = Media::of(MediaKind::Document, source, mime);
    Ok(Media { name: text(r, members, "filename")?, detail: text(r, members, "detail")?, ..media })
}

fn audio<'a>(r: &mut Reading<'a>, members: &Members<'a>) -> Result<Media<'a>, Wrong> {
    let raw = find(members, "input_audio").ok_or_else(|| r.wrong("has no `input_audio`"))?;
    r.within("input_audio", |r| {
        let members = r.object(raw)?;
        let data = need(r, &members, "data")?;
        let mime = match text(r, &members, "format")?.as_deref() {
            Some("mp3") => "audio/mpeg".to_owned(),
            Some(format) => format!("audio/{format}"),
            None => String::new(),
        };
        Ok(Media::of(MediaKind::Audio, Source::Base64(data), mime))
    })
}

/// What stands in a message or a result, and what of it cannot.
pub struct Parts<'w> {
    /// Marks for the provider's cache are said.
    pub marks: bool,
    /// So are parts that only this dialect knows.
    pub natives: bool,
    pub lost: &'w mut Vec<Loss>,
}

impl Parts<'_> {
    /// A part of somebody who asks.
    pub fn input(&mut self, w: &mut Writer, part: &Part<'_>) {
        match &part.kind {
            Kind::Text { text, .. } | Kind::Refusal(text) => w.object(|w| {
                w.member("type", "input_text");
                w.member("text", text);
                self.mark(w, part);
            }),
            Kind::Media(media) => self.media(w, media, part),
            Kind::Native { json, .. } if self.natives => w.value(*json),
            Kind::Native { .. } | Kind::ToolCall(_) | Kind::ToolResult(_) | Kind::Reasoning(_) => {}
        }
    }

    fn mark(&self, w: &mut Writer, part: &Part<'_>) {
        if let Some(mark) = part.cache.filter(|_| self.marks) {
            w.object_member("prompt_cache_breakpoint", |w| {
                w.member("mode", "explicit");
                if mark == CacheMark::Hour {
                    w.member("ttl", "12h");
                }
            });
        }
    }

    fn media(&mut self, w: &mut Writer, media: &Media<'_>, part: &Part<'_>) {
        let data_url = |data: &str, usual: &str| {
            let mime = if media.mime.is_empty() { usual } else { &media.mime };
            format!("data:{mime};base64,{data}")
        };
        match (media.what, &media.source) {
            (MediaKind::Document, Source::Text(_)) => w.object(|w| {
                w.member("type", "input_text");
                w.member("text", &media.words().unwrap_or_default());
                self.mark(w, part);
            }),
            (MediaKind::Audio | MediaKind::Video, _) | (MediaKind::Image, Source::Text(_)) => {
                self.lost.push(Loss::value(Element::MediaUrl, "this kind of media cannot be sent so"));
            }
            (MediaKind::Image, source) => w.object(|w| {
                w.member("type", "input_image");
                match source {
                    Source::Base64(data) => w.member("image_url", &data_url(data, "image/png")),
                    Source::Url(url) | Source::Text(url) => w.member("image_url", url),
                    Source::File(id) => w.member("file_id", id),
                }
                w.member("detail", media.detail.as_deref().unwrap_or("auto"));
                self.mark(w, part);
            }),
            (MediaKind::Document, source) => w.object(|w| {
                w.member("type", "input_file");
                match source {
                    Source::Base64(data) => {
                        w.member("filename", media.name.as_deref().unwrap_or("document.pdf"));
                        w.member("file_data", &data_url(data, "application/pdf"));
                    }
                    // The service names what it fetches itself, and takes no name beside an address.
                    Source::Url(url) | Source::Text(url) => w.member("file_url", url),
                    Source::File(id) => w.member("file_id", id),
                }
                w.member_some("detail", &media.detail);
                self.mark(w, part);
            }),
        }
    }
}

/// The text of a message of the assistant.
pub fn output_text(w: &mut Writer, text: &str, citations: &[Citation<'_>], logprobs: Option<Raw<'_>>) {
    w.object(|w| {
        w.member("type", "output_text");
        w.member("text", text);
        w.list_member("annotations", |w| citations.iter().for_each(|c| annotation(w, c)));
        match logprobs {
            Some(raw) => w.member("logprobs", raw),
            None => w.list_member("logprobs", |_| {}),
        }
    });
}

pub fn refusal(w: &mut Writer, text: &str) {
    w.object(|w| {
        w.member("type", "refusal");
        w.member("refusal", text);
    });
}

/// A citation with an address, in words; one of a file as it was told. What has neither cannot be said here.
pub fn annotation(w: &mut Writer, citation: &Citation<'_>) {
    if let Some(url) = &citation.url {
        w.object(|w| url_citation(w, url, citation.title.as_deref(), citation.start, citation.end));
        return;
    }
    let Some(raw) = citation.json else { return };
    let kind = find(&loose(raw), "type").and_then(as_text);
    if matches!(kind.as_deref(), Some("file_citation" | "container_file_citation" | "file_path")) {
        w.value(raw);
    }
}

pub fn url_citation(w: &mut Writer, url: &str, title: Option<&str>, start: Option<u64>, end: Option<u64>) {
    w.member("type", "url_citation");
    w.member("url", url);
    w.member("title", title.unwrap_or_default());
    w.member("start_index", &start.unwrap_or(0));
    w.member("end_index", &end.unwrap_or(0));
}
