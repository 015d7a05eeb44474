//! The canonical request as a JSON schema: `/v1/chat/completions` and the object `tollgate`.
//!
//! It says what the gateway's own reader takes (`core/src/dialects/openai_chat/read_request.rs`): a test holds the two
//! against each other, member by member and type by type.

use serde_json::{Map, Value, json};
use tollgate_core::contract::VERSIONS;
use tollgate_core::contract::meta::{Field, VALUE_BYTES_MAX};

/// No control character: they are refused wherever a text reaches headers, receipts or logs.
const PLAIN: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

/// A member that may be `null`, which says the same as leaving it out.
fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn nullable(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

/// Whole, 0 or more; `3.0` is whole.
fn count() -> Value {
    json!({ "type": ["integer", "null"], "minimum": 0 })
}

fn list_of(item: &str) -> Value {
    json!({ "type": "array", "items": reference(item) })
}

/// Where the member is an object, it must be this one; other forms are the provider's to judge.
fn if_object(properties: Value) -> Value {
    json!({ "if": { "type": "object" }, "then": { "properties": properties } })
}

/// `then` holds where `type` says this.
fn where_type(kind: &str, then: Value) -> Value {
    json!({ "if": { "required": ["type"], "properties": { "type": { "const": kind } } }, "then": then })
}

fn needs(member: &str, schema: Value) -> Value {
    json!({ "required": [member], "properties": { member: schema } })
}

pub fn definitions() -> Map<String, Value> {
    let mut all = Map::new();
    for (name, schema) in [
        ("request", request()),
        ("message", message()),
        ("part", part()),
        ("media_url", media_url()),
        ("reasoning_detail", reasoning_detail()),
        ("cache_control", or_null(json!({ "type": "object", "properties": { "ttl": nullable("string") } }))),
        ("tool_call", tool_call()),
        ("tool", tool()),
        ("named", needs("name", json!({ "type": "string" }))),
        ("tool_choice", tool_choice()),
        ("response_format", response_format()),
        ("declared", declared()),
        ("source", source()),
    ] {
        all.insert(name.to_owned(), schema);
    }
    all
}

fn request() -> Value {
    let mut properties = conversation();
    properties.extend(sampling());
    json!({
        "description": "A call. Members that are not named here pass where the target speaks OpenAI's dialect; elsewhere they are `unsupported` unless a policy drops them. `null` says the same as leaving a member out.",
        "type": "object",
        "required": ["model", "messages"],
        "properties": properties,
    })
}

fn conversation() -> Map<String, Value> {
    let reasoning = if_object(json!({
        "effort": nullable("string"),
        "max_tokens": count(),
        "budget_tokens": count(),
        "summary": nullable("string"),
    }));
    let members = json!({
        "model": {
            "description": "A model or alias, `PROVIDER/MODEL`, `@TIER`, `@FAMILY.TIER`, or `@auto`: policy chooses.",
            "type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^(@[^.]+(\\..+)?|[^@].*)$",
            "allOf": [{ "pattern": PLAIN }],
        },
        "messages": list_of("message"),
        "tools": or_null(list_of("tool")),
        "tool_choice": or_null(reference("tool_choice")),
        "parallel_tool_calls": nullable("boolean"),
        "response_format": or_null(reference("response_format")),
        "reasoning_effort": nullable("string"),
        "reasoning": reasoning.clone(),
        "thinking": reasoning,
        "verbosity": nullable("string"),
        "service_tier": nullable("string"),
        "user": nullable("string"),
        "safety_identifier": nullable("string"),
        "prompt_cache_key": nullable("string"),
        "metadata": true,
        "store": nullable("boolean"),
        "stream": nullable("boolean"),
        "stream_options": or_null(json!({ "type": "object", "properties": { "include_usage": nullable("boolean") } })),
        "tollgate": reference("declared"),
    });
    match members {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn sampling() -> Map<String, Value> {
    let mut all = Map::new();
    for name in ["max_tokens", "max_completion_tokens", "top_k", "n", "top_logprobs"] {
        all.insert(name.to_owned(), count());
    }
    for name in ["temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "random_seed"] {
        all.insert(name.to_owned(), nullable("number"));
    }
    all.insert("logprobs".to_owned(), nullable("boolean"));
    let texts = json!({ "type": ["string", "array", "null"], "items": { "type": "string" } });
    all.insert("stop".to_owned(), texts);
    all
}

fn message() -> Value {
    json!({
        "type": "object",
        "required": ["role"],
        "properties": {
            "role": { "enum": ["system", "developer", "user", "assistant", "tool"] },
            "content": { "type": ["string", "array", "null"], "items": reference("part") },
            "name": nullable("string"),
            "tool_calls": or_null(list_of("tool_call")),
            "tool_call_id": nullable("string"),
            "refusal": nullable("string"),
            "reasoning_details": or_null(list_of("reasoning_detail")),
        },
        "if": { "required": ["role"], "properties": { "role": { "const": "tool" } } },
        "then": needs("tool_call_id", json!({ "type": "string" })),
    })
}

fn part() -> Value {
    let text = || json!({ "type": "string" });
    let audio = json!({
        "type": "object",
        "required": ["data"],
        "properties": { "data": text(), "format": nullable("string") },
    });
    let file = json!({
        "type": "object",
        "properties": { "filename": nullable("string"), "file_id": nullable("string"), "file_data": nullable("string") },
        "anyOf": [needs("file_id", text()), needs("file_data", text())],
    });
    let thought = json!({ "type": "object", "properties": { "text": nullable("string") } });
    let thinking = json!({ "properties": { "thinking": { "type": ["string", "array", "null"], "items": thought } } });
    json!({
        "description": "A part of a kind that is not named here goes to targets of OpenAI's dialect only.",
        "type": "object",
        "required": ["type"],
        "properties": { "type": text() },
        "allOf": [
            where_type("text", needs("text", text())),
            where_type("refusal", needs("refusal", text())),
            where_type("image_url", needs("image_url", reference("media_url"))),
            where_type("video_url", needs("video_url", reference("media_url"))),
            where_type("document_url", needs("document_url", reference("media_url"))),
            where_type("input_audio", needs("input_audio", audio)),
            where_type("file", needs("file", file)),
            { "if": { "required": ["type"], "properties": { "type": { "const": "thinking" } } },
              "then": thinking,
              "else": { "properties": { "cache_control": reference("cache_control") } } },
        ],
    })
}

fn media_url() -> Value {
    json!({
        "type": ["string", "object"],
        "if": { "type": "object" },
        "then": { "required": ["url"], "properties": { "url": { "type": "string" }, "detail": nullable("string") } },
    })
}

fn reasoning_detail() -> Value {
    let members = ["type", "text", "summary", "format", "data", "id", "signature"];
    let properties: Map<String, Value> = members.iter().map(|name| ((*name).to_owned(), nullable("string"))).collect();
    json!({ "type": "object", "properties": properties })
}

/// Whether a call or a tool is a function; one that is none says its kind.
/// A tool of free text or its call, else what a function is.
fn custom_or(custom: Value, other: Value) -> Value {
    json!({
        "type": "object",
        "if": { "required": ["custom"], "properties": { "custom": { "not": { "type": "null" } } } },
        "then": custom,
        "else": other,
    })
}

fn function_or_kind(function: Value) -> Value {
    json!({
        "type": "object",
        "if": { "required": ["function"], "properties": { "function": { "not": { "type": "null" } } } },
        "then": function,
        "else": { "properties": { "type": nullable("string") } },
    })
}

fn tool_call() -> Value {
    let function = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "type": "string" },
            "arguments": { "description": "JSON as text; the object itself is taken too.", "type": ["string", "object", "null"] },
        },
    });
    let input = json!({ "type": "object", "properties": { "name": nullable("string"), "input": nullable("string") } });
    custom_or(
        json!({ "properties": { "id": nullable("string"), "custom": input } }),
        function_or_kind(json!({ "properties": { "id": nullable("string"), "function": function } })),
    )
}

fn tool() -> Value {
    let function = json!({
        "type": "object",
        "properties": { "name": nullable("string"), "description": nullable("string"), "parameters": true, "strict": nullable("boolean") },
    });
    let text = json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "description": { "type": "string" } },
    });
    custom_or(
        json!({ "properties": { "custom": text } }),
        function_or_kind(
            json!({ "properties": { "function": function, "cache_control": reference("cache_control") } }),
        ),
    )
}

fn tool_choice() -> Value {
    let named = json!({ "type": "object", "allOf": [reference("named")] });
    let among = json!({
        "type": "object",
        "required": ["tools"],
        "properties": {
            "mode": nullable("string"),
            "tools": { "type": "array", "items": { "type": "object", "allOf": [needs("function", named.clone())] } },
        },
    });
    json!({
        "if": { "type": "object" },
        "then": {
            "if": { "required": ["function"], "properties": { "function": { "not": { "type": "null" } } } },
            "then": { "properties": { "function": named } },
            "else": needs("allowed_tools", among),
        },
        "else": { "enum": ["auto", "none", "required", "any"] },
    })
}

fn response_format() -> Value {
    let schema = json!({
        "type": "object",
        "required": ["schema"],
        "properties": {
            "name": nullable("string"), "description": nullable("string"), "strict": nullable("boolean"),
            "schema": { "not": { "type": "null" } },
        },
    });
    json!({
        "type": "object",
        "properties": { "type": { "enum": ["text", "json_object", "json_schema", null] } },
        "allOf": [where_type("json_schema", needs("json_schema", schema))],
    })
}

/// The object `tollgate`: a member for each field that callers may declare.
fn declared() -> Value {
    let mut properties: Map<String, Value> =
        Field::ALL.iter().map(|field| (field.member().to_owned(), field_schema(*field))).collect();
    properties.insert("sources".to_owned(), list_of("source"));
    json!({
        "description": "Governance fields; taken out before the call goes on. A header of the same field must say the same.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// What one field may say, in the object or as the text of its header.
pub fn field_schema(field: Field) -> Value {
    let text = json!({
        "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": VALUE_BYTES_MAX, "pattern": PLAIN,
    });
    let mut schema = match field {
        Field::DataClass => json!({ "enum": ["public", "internal", "confidential", "restricted"] }),
        Field::Trailer => json!({ "enum": ["on", "off", "true", "false", true, false] }),
        Field::Version => json!({ "enum": VERSIONS }),
        Field::MaxCostUsd => {
            json!({ "type": ["number", "string"], "minimum": 0, "pattern": "^[0-9]+(\\.[0-9]*)?$", "maxLength": VALUE_BYTES_MAX })
        }
        Field::MaxLatencyMs => {
            json!({ "type": ["integer", "string"], "minimum": 1, "pattern": "^\\+?0*[1-9][0-9]*$", "maxLength": VALUE_BYTES_MAX })
        }
        Field::Tenant
        | Field::App
        | Field::User
        | Field::UseCase
        | Field::Channel
        | Field::Session
        | Field::Family
        | Field::Tier
        | Field::Region
        | Field::Provider
        | Field::Redaction
        | Field::Retention
        | Field::PiiMode => text,
    };
    schema["description"] = describes(field).into();
    schema
}

fn describes(field: Field) -> &'static str {
    match field {
        Field::Tenant => "The tenant, where the key leaves it open; a contradiction is refused.",
        Field::App => "The app, where the key leaves it open; a contradiction is refused.",
        Field::User => "The user, where the key leaves it open; also `user`, `safety_identifier`, `metadata.user_id`.",
        Field::UseCase => "What the call is for.",
        Field::Channel => "Where the call comes from.",
        Field::DataClass => "How confidential the prompt is.",
        Field::Session => "The run or conversation that the call belongs to.",
        Field::Family => "The family of models wanted, beside the model string.",
        Field::Tier => "The tier of models wanted, beside the model string.",
        Field::Region => "The region wanted.",
        Field::Provider => "The provider that is asked: beside a model, or where a call names none.",
        Field::Redaction => "A profile of redaction: a fact for policies.",
        Field::Retention => "A profile of retention: a fact for policies.",
        Field::PiiMode => "How personal data is treated: a fact for policies.",
        Field::MaxCostUsd => "What this call may cost at most, in dollars: digits with at most one point.",
        Field::MaxLatencyMs => "How long this call may take at most, in milliseconds.",
        Field::Version => "The version of the contract.",
        Field::Trailer => "Cost and usage in a comment behind a stream.",
    }
}

/// Where a part of the prompt comes from.
fn source() -> Value {
    json!({
        "type": "object",
        "required": ["kind"],
        "properties": { "kind": { "enum": ["user", "retrieved", "tool"] } },
    })
}
