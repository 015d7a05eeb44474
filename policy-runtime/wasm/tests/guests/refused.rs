//! What is refused when a revision is loaded, how it is told, and what is kept on disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tollgate_core::policy::Hook;
use tollgate_policy_runtime::codes;
use tollgate_policy_wasm::{Folder, Wasm};

use crate::classifier::{GUEST, prompt, trial};
use crate::trying::{Trial, facts};

const CODE: &str = "(module (memory (export \"memory\") 1))";

#[test]
fn what_is_no_component_of_the_world_is_told_when_it_is_loaded() {
    let component = |wat: &str| wat::parse_str(wat).unwrap();
    for (bytes, code, told, why) in [
        (Vec::new(), "TG0702", "no WebAssembly component", "an empty file"),
        (b"(component)".to_vec(), "TG0702", "no WebAssembly component", "text is for tests"),
        (wat::parse_str(CODE).unwrap(), "TG0702", "core module", "a module without types of its world"),
        (b"\x7fELF\x02\x01\x01".to_vec(), "TG0702", "never taken precompiled", "machine code"),
        (GUEST[..GUEST.len() / 2].to_vec(), "TG0702", "cannot be compiled", "a file cut short"),
        (component("(component)"), "TG0704", "no function `decide`", "nothing is exported"),
        (
            component("(component (import \"wasi:clocks/wall-clock@0.2.0\" (instance)))"),
            "TG0703",
            "`wasi:clocks/wall-clock@0.2.0`",
            "a clock",
        ),
        (component("(component (import \"fetch\" (func)))"), "TG0703", "`fetch`", "a function of nobody's"),
        (
            component("(component (import \"tollgate:policy/facts@1.0.0\" (instance (export \"more\" (func)))))"),
            "TG0704",
            "more",
            "an accessor that this gateway does not have",
        ),
        (
            component("(component (import \"tollgate:policy/facts@2.0.0\" (instance (export \"more\" (func)))))"),
            "TG0704",
            "2.0.0",
            "a later version of the world",
        ),
        (
            component(
                "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) \
                 (func $f (canon lift (core func $i \"f\"))) (export \"decide\" (func $f)))",
            ),
            "TG0704",
            "another type",
            "a `decide` of another kind",
        ),
    ] {
        let Err(findings) = Trial::default().compile(&Wasm::new(None), &bytes) else { panic!("{why}: it was taken") };
        let finding = &findings[0];
        assert_eq!(finding.code, code, "{why}: {finding}");
        assert!(finding.message.contains(told), "{why}: {finding}");
        assert!(finding.help.is_some() && codes::explain(code).is_some(), "{why}: {finding}");
    }
}

/// The files of machine code in a folder.
fn kept(folder: &Path) -> Vec<std::path::PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn machine_code_is_kept_and_never_believed_without_its_mac() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("machine-code");
    let decides = |secret: &[u8]| {
        let wasm = Wasm::new(Some(Folder::open(&path, secret).unwrap()));
        let program = trial().compile(&wasm, GUEST).unwrap();
        program.decide(Hook::PreRoute, &facts(prompt("hello"))).unwrap().effects.len()
    };
    assert_eq!(decides(b"secret"), 1);
    let files = kept(&path);
    assert_eq!(files.len(), 1, "what was compiled is kept");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    let good = fs::read(&files[0]).unwrap();
    let written = || fs::metadata(&files[0]).unwrap().modified().unwrap();
    let before = written();
    assert_eq!(decides(b"secret"), 1);
    assert_eq!(written(), before, "and taken as it is");
    for (at, why) in
        [(0, "the MAC"), (40, "the head of the code"), (good.len() / 2, "the code"), (good.len() - 1, "its end")]
    {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&files[0], &bad).unwrap();
        assert_eq!(decides(b"secret"), 1, "{why}: it is compiled anew");
        assert_eq!(fs::read(&files[0]).unwrap(), good, "{why}: and kept anew");
    }
    assert_eq!(decides(b"another"), 1);
    assert_ne!(fs::read(&files[0]).unwrap()[..32], good[..32], "another gateway's code is not believed");
}

#[test]
fn a_folder_that_others_may_enter_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let Err(why) = Folder::open(dir.path(), b"secret") else { panic!("it was taken") };
    assert!(why.contains("others may enter it"), "{why}");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("/tmp", &link).unwrap();
    let Err(why) = Folder::open(&link, b"secret") else { panic!("it was taken") };
    assert!(why.contains("no folder"), "{why}");
}
