//! Vertex's prediction service, as the clients of its embeddings speak to it: what an answer tells of its use.

use serde::Deserialize;

use crate::contract::usage::Usage;

/// The tokens of all texts. One pass: vectors are megabytes of numbers, of which nothing is kept.
pub fn usage(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Answered {
        predictions: Vec<Prediction>,
    }
    #[derive(Deserialize)]
    struct Prediction {
        embeddings: Embeddings,
    }
    #[derive(Deserialize)]
    struct Embeddings {
        statistics: Statistics,
    }
    #[derive(Deserialize)]
    struct Statistics {
        token_count: f64,
    }
    let answered: Answered = serde_json::from_slice(body).ok()?;
    let counts = answered.predictions.iter().map(|p| p.embeddings.statistics.token_count);
    let input = counts.filter(|count| *count >= 0.0).fold(0u64, |sum, count| sum.saturating_add(count.ceil() as u64));
    Some(Usage { input, ..Usage::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_all_texts_are_counted() {
        let one = r#"{"embeddings":{"statistics":{"truncated":false,"token_count":2.0},"values":[0.5]}}"#;
        let body = format!(r#"{{"predictions":[{one},{one}],"metadata":{{"billableCharacterCount":20}}}}"#);
        assert_eq!(usage(body.as_bytes()).map(|usage| usage.input), Some(4));
        assert_eq!(usage(br#"{"predictions":[{"bytesBase64Encoded":""}]}"#), None, "a picture tells no tokens");
    }
}
