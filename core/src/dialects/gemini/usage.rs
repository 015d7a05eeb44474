//! What a call used, and what is read of answers and streams beside their bytes.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::reason;
use crate::contract::read::Raw;
use crate::contract::usage::{Usage, take};
use crate::contract::write::Writer;
use crate::dialects::Notes;
use crate::dialects::frames::Frame;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Told<'a> {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    total_token_count: Option<u64>,
    #[serde(borrow)]
    prompt_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    tool_use_prompt_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    cache_tokens_details: Option<Vec<Modality<'a>>>,
    #[serde(borrow)]
    candidates_tokens_details: Option<Vec<Modality<'a>>>,
    pub service_tier: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Modality<'a> {
    #[serde(borrow)]
    modality: Option<&'a RawValue>,
    token_count: Option<u64>,
}

/// By name, or by Vertex's number.
fn audio(details: &Option<Vec<Modality<'_>>>) -> u64 {
    let is_audio = |m: &&Modality<'_>| m.modality.is_some_and(|name| matches!(name.get(), "\"AUDIO\"" | "4"));
    details.iter().flatten().filter(is_audio).filter_map(|m| m.token_count).fold(0, u64::saturating_add)
}

impl Told<'_> {
    pub fn read(raw: Raw<'_>) -> Option<Told<'_>> {
        serde_json::from_str(raw.get()).ok()
    }

    /// As disjoint kinds. Thoughts stand beside the answer's tokens, what tools put in beside the prompt's. `None` = it counts
    /// nothing: some chunks tell the kind of traffic only.
    pub fn disjoint(&self) -> Option<Usage> {
        let prompt = self.prompt_token_count;
        if prompt.is_none() && self.candidates_token_count.is_none() && self.total_token_count.is_none() {
            return None;
        }
        let by_tools = self.tool_use_prompt_token_count.unwrap_or(0);
        let output = self.candidates_token_count.unwrap_or(0);
        let mut usage = Usage {
            input: prompt.unwrap_or(0).saturating_add(by_tools),
            output,
            reasoning: self.thoughts_token_count.unwrap_or(0),
            ..Usage::default()
        };
        usage.cached_input = take(&mut usage.input, self.cached_content_token_count);
        let heard = audio(&self.prompt_tokens_details).saturating_add(audio(&self.tool_use_prompt_tokens_details));
        let heard_before = audio(&self.cache_tokens_details);
        usage.input_audio = take(&mut usage.input, Some(heard.saturating_sub(heard_before)));
        usage.output_audio = take(&mut usage.output, Some(audio(&self.candidates_tokens_details)));
        Some(usage)
    }
}

pub fn write(w: &mut Writer, usage: &Usage, tier: Option<&str>) {
    let modalities = |w: &mut Writer, text: u64, audio: u64| {
        for (name, count) in [("TEXT", text), ("AUDIO", audio)].into_iter().filter(|(_, count)| *count > 0) {
            w.object(|w| {
                w.member("modality", name);
                w.member("tokenCount", &count);
            });
        }
    };
    let some = |count: u64| Some(count).filter(|count| *count > 0);
    let input = usage.input_all();
    w.member("promptTokenCount", &input);
    w.member_some("cachedContentTokenCount", &some(usage.cached_input));
    let output = usage.output.saturating_add(usage.output_audio);
    w.member("candidatesTokenCount", &output);
    w.member_some("thoughtsTokenCount", &some(usage.reasoning));
    w.member("totalTokenCount", &usage.total());
    if usage.input_audio > 0 {
        w.list_member("promptTokensDetails", |w| modalities(w, input - usage.input_audio, usage.input_audio));
    }
    if usage.output_audio > 0 {
        w.list_member("candidatesTokensDetails", |w| modalities(w, usage.output, usage.output_audio));
    }
    w.member_some("serviceTier", &tier.and_then(super::names::tier_name));
}

/// What is read beside the bytes: nothing of the words.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Beside<'a> {
    #[serde(borrow)]
    usage_metadata: Option<Told<'a>>,
    #[serde(borrow)]
    candidates: Option<Vec<Ended<'a>>>,
    #[serde(borrow)]
    prompt_feedback: Option<Feedback<'a>>,
    error: Option<Failed>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Ended<'a> {
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Feedback<'a> {
    #[serde(borrow)]
    block_reason: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failed {
    message: String,
}

/// One reply, or a list around some.
fn each_beside<'a>(data: &'a [u8], mut take: impl FnMut(Beside<'a>)) {
    match data.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice::<Vec<Beside<'a>>>(data).unwrap_or_default().into_iter().for_each(take),
        Some(_) | None => {
            if let Ok(one) = serde_json::from_slice(data) {
                take(one);
            }
        }
    }
}

fn overlay(beside: Beside<'_>, notes: &mut Notes) {
    if let Some(usage) = beside.usage_metadata.and_then(|told| told.disjoint()) {
        notes.usage = Some(usage);
    }
    let ended = beside.candidates.iter().flatten().find_map(|c| c.finish_reason.and_then(reason));
    let blocked = beside.prompt_feedback.and_then(|f| f.block_reason).map(|raw| raw.get().trim_matches('"').into());
    if let Some(reason) = ended.or(blocked) {
        notes.finish_reason = Some(reason.into_owned());
        notes.done = true;
    }
    if let Some(error) = beside.error {
        notes.error = Some(error.message);
    }
}

/// Of a whole answer, which is complete as it stands.
pub fn glance(body: &[u8]) -> Notes {
    let mut notes = Notes::default();
    each_beside(body, |beside| {
        overlay(beside, &mut notes);
        notes.done = true;
    });
    notes
}

/// Of one frame of a stream. Nearly every one has usage here, so nearly every one is parsed, but for its words.
pub fn note(frame: &Frame<'_>, notes: &mut Notes) {
    notes.ours = false;
    let data = &*frame.data;
    let tells = [&b"\"usageMetadata\""[..], b"\"finishReason\"", b"\"blockReason\"", b"\"error\""];
    if tells.iter().any(|word| memmem::find(data, word).is_some()) {
        each_beside(data, |beside| overlay(beside, notes));
    }
    if frame.is_error && notes.error.is_none() {
        notes.error = Some(String::from_utf8_lossy(data).into_owned());
    }
}
