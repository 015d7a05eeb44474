//! How many tokens a stream has brought so far, read beside its bytes: about one a piece of text, more for longer pieces.
//!
//! It is our own count, for streams that something is held for: the provider's, told at the end, is what settles.

use crate::contract::Dialect;

/// A piece of text this long is one token: streams mostly bring them one by one.
const PIECE_BYTES: usize = 12;
/// Beyond it, a token has about as many bytes.
const TOKEN_BYTES: usize = 4;

#[derive(Debug)]
pub struct Meter {
    tokens: u64,
    /// Frames that carried something.
    frames: u64,
    /// Members that hold text in this dialect's streams.
    members: &'static [&'static [u8]],
}

impl Meter {
    pub fn of(dialect: Dialect) -> Meter {
        Meter { tokens: 0, frames: 0, members: members(dialect) }
    }

    /// Takes the payload of one frame.
    pub fn frame(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.frames += 1;
        let bytes = self.members.iter().map(|member| text_bytes(data, member)).find(|bytes| *bytes > 0).unwrap_or(0);
        if bytes > 0 {
            self.tokens += 1 + (bytes.saturating_sub(PIECE_BYTES) / TOKEN_BYTES) as u64;
        }
    }

    /// Where hardly any frame has text that is known here, the frames are counted: nothing streams for nothing.
    pub fn tokens(&self) -> u64 {
        if self.tokens.saturating_mul(8) < self.frames.saturating_sub(8) { self.frames } else { self.tokens }
    }
}

fn members(dialect: Dialect) -> &'static [&'static [u8]] {
    match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiCompletions => {
            &[b"\"content\":", b"\"arguments\":", b"\"reasoning_content\":", b"\"reasoning\":", b"\"text\":"]
        }
        Dialect::OpenaiResponses => &[b"\"delta\":"],
        Dialect::AnthropicMessages => &[b"\"text\":", b"\"partial_json\":", b"\"thinking\":"],
        Dialect::Gemini => &[b"\"text\":"],
        Dialect::BedrockConverse => &[b"\"text\":", b"\"input\":"],
        Dialect::CohereChat => &[b"\"text\":", b"\"arguments\":", b"\"tool_plan\":", b"\"thinking\":"],
        Dialect::CohereV1Chat => &[b"\"text\":"],
        Dialect::OllamaChat => &[b"\"content\":", b"\"thinking\":"],
        Dialect::OllamaGenerate => &[b"\"response\":", b"\"thinking\":"],
        Dialect::OpenaiEmbeddings
        | Dialect::OpenaiImages
        | Dialect::OpenaiAudio
        | Dialect::OpenaiModerations
        | Dialect::OpenaiFiles
        | Dialect::OpenaiBatches
        | Dialect::AnthropicCountTokens
        | Dialect::GeminiCountTokens
        | Dialect::GeminiEmbed
        | Dialect::GeminiBatchEmbed
        | Dialect::CohereEmbed
        | Dialect::CohereRerank
        | Dialect::CohereV1Embed
        | Dialect::CohereV1Rerank
        | Dialect::VertexPredict
        | Dialect::BedrockCountTokens
        | Dialect::BedrockInvokeEmbed
        // Its events are packed: each frame counts.
        | Dialect::BedrockInvoke => &[],
    }
}

/// The bytes of the first text that stands under a member; 0 where there is none.
fn text_bytes(data: &[u8], member: &[u8]) -> usize {
    let Some(at) = memchr::memmem::find(data, member) else { return 0 };
    let Some(text) = data[at + member.len()..].trim_ascii_start().strip_prefix(b"\"") else { return 0 };
    let mut end = 0;
    while let Some(next) = memchr::memchr2(b'"', b'\\', &text[end..]) {
        if text[end + next] == b'"' {
            return end + next;
        }
        // What is behind a backslash ends nothing.
        end = (end + next + 2).min(text.len());
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_text_are_counted_and_what_frames_them_is_not() {
        for (dialect, frames, tokens, why) in [
            (
                Dialect::OpenaiChat,
                &[
                    r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
                    r#"{"choices":[{"delta":{"content":"Hello"}}]}"#,
                    r#"{"choices":[{"delta":{"content": " \"you\""}}]}"#,
                    r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
                    "",
                ][..],
                2,
                "a head, two words, an end, a comment",
            ),
            (
                Dialect::Gemini,
                &[
                    r#"{"candidates":[{"content":{"parts":[{"text":"twelve bytes and forty bytes that follow them now"}]}}]}"#,
                ],
                10,
                "a long piece is several tokens",
            ),
            (
                Dialect::AnthropicMessages,
                &[
                    r#"{"type":"message_start","message":{"content":[]}}"#,
                    r#"{"type":"content_block_start","content_block":{"type":"text","text":""}}"#,
                    r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}"#,
                ],
                1,
                "one delta",
            ),
            (Dialect::OpenaiChat, &[r#"{"x":"y"}"#; 20], 20, "unknown frames that go on and on"),
        ] {
            let mut meter = Meter::of(dialect);
            frames.iter().for_each(|frame| meter.frame(frame.as_bytes()));
            assert_eq!(meter.tokens(), tokens, "{why}");
        }
    }
}
