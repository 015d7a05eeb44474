//! The files in `golden/`: what is read beside what is written of it. `TOLLGATE_GOLDEN=write` writes them anew, to be read.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{round, write_stream};
use crate::dialects::Codec;
use crate::dialects::anthropic::Anthropic;
use crate::dialects::recorded::{events, given};

/// What is made of a file, by the end of its name.
fn made(name: &str, text: &str) -> (String, String) {
    let mut told = String::new();
    let stem = if let Some(stem) = name.strip_suffix(".request.json") {
        let (body, lost, extra) = round(text).unwrap();
        extra.iter().for_each(|path| writeln!(told, "no canonical place: {path}").unwrap());
        lost.iter().for_each(|lost| writeln!(told, "lost: {lost}").unwrap());
        writeln!(told, "written:\n{body}").unwrap();
        stem
    } else if let Some(stem) = name.strip_suffix(".answer.json") {
        let answer = Anthropic.read_answer(text.as_bytes(), &given("asked")).unwrap();
        answer.choices[0].parts.iter().for_each(|part| writeln!(told, "{:?} {:?}", part.kind, part.signature).unwrap());
        writeln!(told, "{:?}\n{:?}", answer.choices[0].finish, answer.usage).unwrap();
        let body = Anthropic.write_answer(&answer, &given("asked")).body;
        writeln!(told, "written:\n{}", String::from_utf8(body).unwrap()).unwrap();
        stem
    } else {
        let read = events(&Anthropic, &given("asked"), text.as_bytes()).unwrap();
        read.iter().for_each(|event| writeln!(told, "{event:?}").unwrap());
        writeln!(told, "written:\n{}", String::from_utf8(write_stream(&read)).unwrap()).unwrap();
        name.strip_suffix(".sse").unwrap()
    };
    (format!("{stem}.txt"), told)
}

#[test]
fn golden_files_say_what_is_made() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/dialects/anthropic/golden");
    let names = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let given = [".request.json", ".answer.json", ".sse"];
    let mut seen = 0;
    for name in names.filter(|name| given.iter().any(|end| name.ends_with(end))) {
        let (result, text) = made(&name, &std::fs::read_to_string(folder.join(&name)).unwrap());
        let path = folder.join(&result);
        if std::env::var_os("TOLLGATE_GOLDEN").is_some_and(|mode| mode == "write") {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{result}, made of {name}");
        seen += 1;
    }
    assert!(seen >= 5, "the files are there: {seen}");
}
