//! Forms as clients send them, and as nobody should.

use proptest::prelude::*;

use super::*;

const AUDIO: &str = "--b-1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b-1\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"a;\\\"b.wav\"\r\nContent-Type: audio/wav\r\n\r\nRI\r\n--b\r\nFF\r\n--b-1\r\n\
    Content-Disposition: form-data; name=\"timestamp_granularities[]\"\r\n\r\nword\r\n--b-1\r\n\
    Content-Disposition: form-data; name=\"tollgate[use_case]\"\r\n\r\nnotes\r\n--b-1\r\n\
    Content-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--b-1--\r\n";

fn form(text: &str) -> Result<Form, FormError> {
    Form::read(Bytes::copy_from_slice(text.as_bytes()), "b-1".into())
}

#[test]
fn fields_are_read_as_the_object_that_they_stand_for_and_files_are_not() {
    let read = form(AUDIO).unwrap();
    let expected = serde_json::json!({
        "model": "whisper-1", "timestamp_granularities[]": ["word"], "tollgate": { "use_case": "notes" }, "stream": true,
    });
    assert_eq!(Value::Object(read.fields().unwrap()), expected);
    assert_eq!(read.files(), ("RI\r\n--b\r\nFF".len(), 1));
}

#[test]
fn only_what_changes_changes() {
    let read = form(AUDIO).unwrap();
    let mut edits = Edits::default();
    assert_eq!(read.apply(&edits), AUDIO, "nothing to change: the very bytes");
    edits.set("model", "\"gpt-4o-transcribe\"");
    edits.remove("tollgate");
    edits.set("temperature", "0.5");
    let changed = read.apply(&edits);
    let again = Form::read(changed.clone(), "b-1".into()).unwrap();
    let expected = serde_json::json!({
        "model": "gpt-4o-transcribe", "timestamp_granularities[]": ["word"], "stream": true, "temperature": "0.5",
    });
    assert_eq!(Value::Object(again.fields().unwrap()), expected);
    let expected = AUDIO
        .replace("whisper-1", "gpt-4o-transcribe")
        .replace("--b-1\r\nContent-Disposition: form-data; name=\"tollgate[use_case]\"\r\n\r\nnotes\r\n", "")
        .replace("--b-1--", "--b-1\r\ncontent-disposition: form-data; name=\"temperature\"\r\n\r\n0.5\r\n--b-1--");
    assert_eq!(changed, expected.as_bytes());
}

#[test]
fn the_same_form_with_another_boundary_is_the_same_form() {
    let read = form(AUDIO).unwrap();
    let other = Bytes::from(AUDIO.replace("--b-1", "--b-22"));
    assert_eq!(Form::read(other, "b-22".into()).unwrap().digest(), read.digest());
    assert_ne!(form(&AUDIO.replace("notes", "other")).unwrap().digest(), read.digest());
}

#[test]
fn what_two_readers_could_take_for_two_forms_is_refused() {
    let part = |head: &str, value: &str| format!("--b-1\r\n{head}\r\n\r\n{value}\r\n");
    let model = part("Content-Disposition: form-data; name=\"model\"", "m");
    let end = "--b-1--\r\n";
    for (text, told, why) in [
        (String::new(), "does not begin", "nothing"),
        (format!("hello\r\n{model}{end}"), "does not begin", "a preamble"),
        (model.clone(), "last boundary is missing", "cut off"),
        (format!("{model}{end}more"), "after the last boundary", "an epilogue"),
        (format!("{model}--b-1x\r\n\r\n{end}"), "without an end of its line", "a boundary that goes on"),
        (format!("{}{end}", model.replace("\r\n", "\n")), "without an end of its line", "bare line feeds"),
        (
            "--b-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n--b-1--".to_owned(),
            "ends with its headers",
            "no value",
        ),
        (format!("{model}{model}{end}"), "`model` twice", "which model?"),
        (
            format!("{}{end}", part("Content-Disposition: form-data; name=\"model\"; filename=\"m\"", "m")),
            "is a file",
            "a model in a file",
        ),
        (
            format!("{}{end}", part("Content-Disposition: form-data; name=\"a\"; name=\"model\"", "m")),
            "said twice",
            "two names",
        ),
        (
            format!("{}{end}", part("Content-Disposition: form-data; name*=utf-8''model", "m")),
            "encoded",
            "an encoded name",
        ),
        (format!("{}{end}", part("Content-Type: text/plain", "m")), "without `content-disposition`", "no name"),
        (
            format!(
                "{}{end}",
                part("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64", "bQ==")
            ),
            "no use for",
            "another reading",
        ),
        (
            format!("{}{end}", part(&format!("X: {}", "y".repeat(HEADERS_BYTES_MAX)), "m")),
            "too long",
            "headers without end",
        ),
        (
            format!(
                "{}{end}",
                (0..=PARTS_MAX)
                    .map(|n| part(&format!("Content-Disposition: form-data; name=\"n{n}\""), ""))
                    .collect::<String>()
            ),
            "256 parts",
            "too many",
        ),
        (
            format!("{}{end}", part("Content-Disposition: form-data; name=\"a\"", &"y".repeat(FIELDS_BYTES_MAX + 1))),
            "1048576",
            "a field like a file",
        ),
    ] {
        let error = form(&text).and_then(|form| form.fields().map(|_| ())).unwrap_err();
        assert!(error.to_string().contains(told), "{why}: {error}");
    }
    let not_text = part("Content-Disposition: form-data; name=\"a\"", "XX").into_bytes();
    let not_text: Vec<u8> =
        [&*not_text, end.as_bytes()].concat().into_iter().map(|b| if b == b'X' { 0xff } else { b }).collect();
    let read = Form::read(not_text.into(), "b-1".into()).unwrap();
    assert_eq!(read.fields(), Err(FormError::NotUtf8("a".to_owned())));
}

#[test]
fn a_boundary_is_plain_and_said_once() {
    for (kind, expected) in [
        ("multipart/form-data; boundary=abc", Some(Ok("abc"))),
        ("Multipart/Form-Data; charset=utf-8; Boundary=\"a.b\"", Some(Ok("a.b"))),
        ("multipart/form-data", Some(Err(FormError::Boundary))),
        ("multipart/form-data; boundary=a; boundary=b", Some(Err(FormError::Boundary))),
        ("multipart/form-data; boundary=a b", Some(Err(FormError::Boundary))),
        ("multipart/mixed; boundary=a", None),
        ("application/json", None),
    ] {
        assert_eq!(
            boundary(kind).map(|found| found.map(String::from)),
            expected.map(|e| e.map(str::to_owned)),
            "{kind}"
        );
    }
}

proptest! {
    /// Whatever comes, it is read or refused, and what was read is handed on as it came.
    #[test]
    fn no_bytes_make_it_panic(pieces in proptest::collection::vec(
        prop_oneof![
            Just("--b-1".to_owned()), Just("\r\n".to_owned()), Just("--".to_owned()), Just("\r\n\r\n".to_owned()),
            Just("Content-Disposition: form-data; name=\"a\"".to_owned()), Just("; filename=\"".to_owned()), "[a-z\"\\\\;=]{0,5}",
        ], 0..24)) {
        let text = pieces.concat();
        if let Ok(read) = form(&text) {
            let _ = read.fields();
            prop_assert_eq!(read.apply(&Edits::default()), text.as_bytes());
        }
    }
}
