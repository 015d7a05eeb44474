//! Pictures, sound and documents in a request, in the ways in which the compatible world sends them.

use std::borrow::Cow;

use crate::contract::canonical::part::{Media, MediaKind, Source, data_url};
use crate::contract::read::{Raw, Reading, Wrong, find, is_object};

/// `image_url: {url, detail}`, or the URL alone.
pub fn by_url<'a>(r: &mut Reading<'a>, raw: Raw<'a>, what: MediaKind) -> Result<Media<'a>, Wrong> {
    let mut detail = None;
    let url = if is_object(raw) {
        let members = r.object(raw)?;
        detail = find(&members, "detail").map(|raw| r.within("detail", |r| r.text(raw))).transpose()?;
        let raw = find(&members, "url").ok_or_else(|| r.wrong("has no `url`"))?;
        r.within("url", |r| r.text(raw))?
    } else {
        r.text(raw)?
    };
    let media = match url {
        Cow::Borrowed(text) => match data_url(text) {
            Some((mime, data)) => Media::of(what, Source::Base64(data.into()), mime),
            None => Media::of(what, Source::Url(text.into()), ""),
        },
        Cow::Owned(text) => match data_url(&text) {
            Some((mime, data)) => Media::of(what, Source::Base64(data.to_owned().into()), mime.to_owned()),
            None => Media::of(what, Source::Url(text.into()), ""),
        },
    };
    Ok(Media { detail, ..media })
}

pub fn audio<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Media<'a>, Wrong> {
    let members = r.object(raw)?;
    let data = find(&members, "data").ok_or_else(|| r.wrong("has no `data`"))?;
    let data = r.within("data", |r| r.text(data))?;
    let format = find(&members, "format").map(|raw| r.within("format", |r| r.text(raw))).transpose()?;
    let mime = match format.as_deref() {
        Some("mp3") => "audio/mpeg".into(),
        Some(format) => format!("audio/{format}"),
        None => String::new(),
    };
    Ok(Media::of(MediaKind::Audio, Source::Base64(data), mime))
}

pub fn file<'a>(r: &mut Reading<'a>, raw: Raw<'a>) -> Result<Media<'a>, Wrong> {
    let members = r.object(raw)?;
    let text = |r: &mut Reading<'a>, name: &'static str| {
        find(&members, name).map(|raw| r.within(name, |r| r.text(raw))).transpose()
    };
    let name = text(r, "filename")?;
    let media = match (text(r, "file_id")?, text(r, "file_data")?) {
        (Some(id), _) => Media::of(MediaKind::Document, Source::File(id), ""),
        (None, Some(data)) => match data_url(&data) {
            Some((mime, inside)) => {
                Media::of(MediaKind::Document, Source::Base64(inside.to_owned().into()), mime.to_owned())
            }
            None if data.starts_with("http") => Media::of(MediaKind::Document, Source::Url(data), ""),
            None => Media::of(MediaKind::Document, Source::Base64(data), "application/pdf"),
        },
        (None, None) => return Err(r.wrong("has neither `file_id` nor `file_data`")),
    };
    Ok(Media { name, ..media })
}
