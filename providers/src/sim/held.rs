//! What the scripted provider holds: files, uploads, batches and responses, as long as it runs, up to a bound.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tollgate_core::contract::Dialect;
use tollgate_core::dialects::frames::sse;
use tollgate_core::dialects::paths::Verb;

use super::answer::Chat;
use super::body::{self, Ready};
use super::errors::wrong;
use super::question::Question;
use super::script::Script;
use super::{Asked, CREATED, Told, chat, text};

/// Of each kind; the oldest goes first.
const KEPT_MAX: usize = 1_000;

#[derive(Default)]
pub struct Held {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    files: VecDeque<(Value, Bytes)>,
    /// Uploads under way, with the parts that came.
    uploads: VecDeque<(Value, Vec<(String, Bytes)>)>,
    batches: VecDeque<Value>,
    /// With the input that was answered.
    responses: VecDeque<(Value, Value)>,
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= KEPT_MAX {
        list.pop_front();
    }
    list.push_back(item);
}

fn json(value: &Value) -> Told {
    Told::Whole(text(StatusCode::OK, "application/json", value.to_string()))
}

fn missing(asked: &Asked, what: &str) -> Told {
    Told::Whole(wrong(asked.dialect, StatusCode::NOT_FOUND, "not_found", &format!("No such {what} object")))
}

fn list(items: Vec<&Value>) -> Told {
    let id = |item: Option<&&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    let (first, last) = (id(items.first()), id(items.last()));
    json(&json!({ "object": "list", "data": items, "first_id": first, "last_id": last, "has_more": false }))
}

impl Held {
    pub fn answer(&self, asked: &Asked) -> Told {
        let place = &asked.place;
        let id = place.id.as_deref().unwrap_or_default();
        let mut kept = self.lock();
        match (asked.dialect, place.path) {
            (Dialect::OpenaiBatches, _) => batches(&mut kept, asked, id),
            (Dialect::OpenaiResponses, _) => responses(&mut kept, asked, id),
            (_, path) if path.starts_with("/uploads") => uploads(&mut kept, asked, id),
            (_, _) => files(&mut kept, asked, id),
        }
    }

    /// Keeps what was answered.
    pub fn keep_response(&self, asked: &Asked, answer: Vec<u8>) {
        if let Ok(answer) = serde_json::from_slice(&answer) {
            keep(&mut self.lock().responses, (answer, asked.body["input"].clone()));
        }
    }

    /// A response or a file that a call speaks of must be there.
    pub fn refers(&self, asked: &Asked) -> Result<(), Told> {
        let kept = self.lock();
        match asked.body["previous_response_id"].as_str() {
            Some(id) if !kept.responses.iter().any(|(answer, _)| answer["id"] == id) => {
                let told = format!("Previous response with id '{id}' not found.");
                let code = "previous_response_not_found";
                Err(Told::Whole(wrong(asked.dialect, StatusCode::BAD_REQUEST, code, &told)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(number: u64, name: &str, purpose: &str, bytes: usize) -> Value {
    json!({
        "id": format!("file-sim{number:012}"), "object": "file", "bytes": bytes, "created_at": CREATED, "expires_at": null,
        "filename": name, "purpose": purpose, "status": "processed",
    })
}

fn files(kept: &mut Kept, asked: &Asked, id: &str) -> Told {
    let at = kept.files.iter().position(|(file, _)| file["id"] == id);
    match (asked.place.verb, id, at) {
        (Verb::Post, _, _) => {
            let Some((name, content)) = asked.form.as_ref().and_then(|form| form.file("file")) else {
                return Told::Whole(wrong(
                    asked.dialect,
                    StatusCode::BAD_REQUEST,
                    "missing_file",
                    "'file' is required",
                ));
            };
            let purpose = asked.body["purpose"].as_str().unwrap_or("user_data");
            let made = file(asked.number, name, purpose, content.len());
            keep(&mut kept.files, (made.clone(), content));
            json(&made)
        }
        (Verb::Get, "", _) => list(kept.files.iter().map(|(file, _)| file).collect()),
        (Verb::Get | Verb::Delete, _, None) => missing(asked, "File"),
        (Verb::Get, _, Some(at)) => match asked.place.path.ends_with("/content") {
            true => {
                let pieces = kept.files[at].1.chunks(4_096).map(Bytes::copy_from_slice).collect();
                Told::Body(Ready { pieces, stream: true, content_type: "application/octet-stream" }, None)
            }
            false => json(&kept.files[at].0),
        },
        (Verb::Delete, _, Some(at)) => {
            kept.files.remove(at);
            json(&json!({ "id": id, "object": "file", "deleted": true }))
        }
    }
}

fn uploads(kept: &mut Kept, asked: &Asked, id: &str) -> Told {
    if id.is_empty() {
        let body = &asked.body;
        let made = json!({
            "id": format!("upload_sim{:012}", asked.number), "object": "upload", "bytes": body["bytes"], "created_at": CREATED,
            "expires_at": CREATED + 3_600, "filename": body["filename"], "purpose": body["purpose"], "status": "pending",
        });
        keep(&mut kept.uploads, (made.clone(), Vec::new()));
        return json(&made);
    }
    let Some((upload, parts)) = kept.uploads.iter_mut().find(|(upload, _)| upload["id"] == id) else {
        return missing(asked, "Upload");
    };
    match asked.place.path.rsplit('/').next() {
        Some("parts") => {
            let part = format!("part_sim{:012}", asked.number);
            let content = asked.form.as_ref().and_then(|form| form.file("data")).map(|(_, content)| content);
            parts.push((part.clone(), content.unwrap_or_default()));
            json(&json!({ "id": part, "object": "upload.part", "created_at": CREATED, "upload_id": id }))
        }
        Some("cancel") => {
            upload["status"] = "cancelled".into();
            json(upload)
        }
        _ => {
            let ids = asked.body["part_ids"].as_array().cloned().unwrap_or_default();
            let of = |id: &Value| parts.iter().find(|(part, _)| id == part).map(|(_, bytes)| bytes.to_vec());
            let content: Vec<u8> = ids.iter().filter_map(of).flatten().collect();
            let name = upload["filename"].as_str().unwrap_or_default();
            let purpose = upload["purpose"].as_str().unwrap_or_default();
            let made = file(asked.number, name, purpose, content.len());
            upload["status"] = "completed".into();
            upload["file"] = made.clone();
            let told = json(upload);
            keep(&mut kept.files, (made, content.into()));
            told
        }
    }
}

fn batches(kept: &mut Kept, asked: &Asked, id: &str) -> Told {
    if id.is_empty() && asked.place.verb == Verb::Get {
        return list(kept.batches.iter().collect());
    }
    if id.is_empty() {
        let body = &asked.body;
        if !kept.files.iter().any(|(file, _)| file["id"] == body["input_file_id"]) {
            return missing(asked, "File");
        }
        let made = json!({
            "id": format!("batch_sim{:012}", asked.number), "object": "batch", "endpoint": body["endpoint"], "errors": null,
            "input_file_id": body["input_file_id"], "completion_window": body["completion_window"], "status": "validating",
            "output_file_id": null, "error_file_id": null, "created_at": CREATED, "metadata": body["metadata"],
            "request_counts": { "total": 0, "completed": 0, "failed": 0 },
        });
        keep(&mut kept.batches, made.clone());
        return json(&made);
    }
    let Some(at) = kept.batches.iter().position(|batch| batch["id"] == id) else { return missing(asked, "Batch") };
    match (asked.place.verb, kept.batches[at]["status"].as_str()) {
        (Verb::Post, _) => kept.batches[at]["status"] = "cancelling".into(),
        // It is done when somebody looks.
        (Verb::Get | Verb::Delete, Some("validating")) => {
            let input = kept.files.iter().find(|(file, _)| file["id"] == kept.batches[at]["input_file_id"]);
            let lines: Vec<String> = input.map(|(_, content)| done(content, asked)).unwrap_or_default();
            let content = Bytes::from(lines.concat());
            let made = file(asked.number, "output.jsonl", "batch_output", content.len());
            let batch = &mut kept.batches[at];
            batch["status"] = "completed".into();
            batch["output_file_id"] = made["id"].clone();
            batch["request_counts"] = json!({ "total": lines.len(), "completed": lines.len(), "failed": 0 });
            keep(&mut kept.files, (made, content));
        }
        (Verb::Get | Verb::Delete, _) => {}
    }
    json(&kept.batches[at])
}

/// Each line of a batch's input, answered as a chat.
fn done(input: &[u8], asked: &Asked) -> Vec<String> {
    let calls = input.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let answers = calls.enumerate().map(|(at, call)| {
        let model = call["body"]["model"].as_str().unwrap_or("sim-1");
        let answer = Chat::of(&Question::of_chat(&call["body"]), &Script::default(), asked.number);
        let response =
            json!({ "status_code": 200, "request_id": format!("req_sim_{at}"), "body": chat::whole(&answer, model) });
        json!({ "id": format!("batch_req_{at}"), "custom_id": call["custom_id"], "response": response, "error": null })
    });
    answers.map(|answer| format!("{answer}\n")).collect()
}

fn responses(kept: &mut Kept, asked: &Asked, id: &str) -> Told {
    let Some(at) = kept.responses.iter().position(|(answer, _)| answer["id"] == id) else {
        return missing(asked, "Response");
    };
    let (answer, input) = &mut kept.responses[at];
    match (asked.place.verb, asked.place.path.ends_with("/input_items")) {
        (Verb::Delete, _) => {
            kept.responses.remove(at);
            json(&json!({ "id": id, "object": "response", "deleted": true }))
        }
        (Verb::Post, _) => {
            answer["status"] = "cancelled".into();
            json(answer)
        }
        (Verb::Get, true) => {
            let words = input.as_str().map_or_else(|| input.to_string(), str::to_owned);
            let content = json!([{ "type": "input_text", "text": words }]);
            let item = json!({ "id": format!("msg_in_{id}"), "type": "message", "role": "user", "content": content });
            list(vec![&item])
        }
        (Verb::Get, false) if asked.stream => {
            let mut pieces = Vec::new();
            for (number, name) in ["response.created", "response.completed"].into_iter().enumerate() {
                let event = json!({ "type": name, "sequence_number": number, "response": answer });
                let mut bytes = Vec::new();
                sse::write(Some(name), event.to_string().as_bytes(), &mut bytes);
                pieces.push(Bytes::from(bytes));
            }
            let pieces = body::written(pieces.into_iter(), &asked.script);
            Told::Body(Ready { pieces, stream: true, content_type: "text/event-stream; charset=utf-8" }, None)
        }
        (Verb::Get, false) => json(answer),
    }
}
