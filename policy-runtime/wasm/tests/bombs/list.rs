//! The bombs, as text of core modules.

use tollgate_core::policy::verdict::FailureKind::{self, Budget, CpuTime, Error};

pub struct Bomb {
    pub name: &'static str,
    /// The body of `decide`: `$hook $facts -> pointer to the result`, with the locals `$i`, `$n` and `$w` (i64).
    pub body: &'static str,
    /// Memory, tables, globals, further functions. Without a memory here, one of a page is put in.
    pub more: &'static str,
    pub ops: u64,
    pub bytes: u64,
    pub kind: FailureKind,
    /// A part of what is told.
    pub what: &'static str,
}

const OPS: u64 = 20_000;
const BYTES: u64 = 1 << 20;
/// The most that a manifest can give: the CPU time of the thread must hold then.
const OPS_MAX: u64 = 10_000_000;
const BYTES_MAX: u64 = 256 << 20;

const fn bomb(
    name: &'static str,
    more: &'static str,
    body: &'static str,
    kind: FailureKind,
    what: &'static str,
) -> Bomb {
    Bomb { name, body, more, ops: OPS, bytes: BYTES, kind, what }
}

/// The same with all operations and bytes that a manifest can give.
const fn generous(
    name: &'static str,
    more: &'static str,
    body: &'static str,
    kind: FailureKind,
    what: &'static str,
) -> Bomb {
    Bomb { name, body, more, ops: OPS_MAX, bytes: BYTES_MAX, kind, what }
}

/// The imports of the world that bombs call, as core functions.
const IMPORTS: &str = r#"
  (import "tollgate:policy/facts@1.0.0" "[resource-drop]facts" (func $drop (param i32)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.call-time-ms" (func $time (param i32) (result i64)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.call-user-agent" (func $agent (param i32 i32)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.prompt-roles" (func $roles (param i32 i32)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.text-contains" (func $contains (param i32 i32 i32) (result i32)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.text-slice" (func $slice (param i32 i32 i32 i32 i32)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.text-find" (func $find (param i32 i32 i32 i32)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.bucket" (func $bucket (param i32 i32 i32 i32) (result i32)))
  (import "tollgate:policy/facts@1.0.0" "[method]facts.param-text" (func $param (param i32 i32 i32 i32)))
"#;

/// Gives each piece asked for at the same place: nobody reads what is there.
const REALLOC: &str = r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))"#;

pub fn module(bomb: &Bomb) -> String {
    let memory = if bomb.more.contains("(memory (") { "" } else { r#"(memory (export "memory") 1)"# };
    let realloc = if bomb.more.contains("cabi_realloc") { "" } else { REALLOC };
    format!(
        "(module {IMPORTS} {memory} {realloc} {}\n (func $decide (export \"decide\") (param $hook i32) (param $facts i32) \
         (result i32) (local $i i32) (local $n i32) (local $w i64)\n {}))",
        bomb.more, bomb.body
    )
}

const BIG: &str = r#"(memory (export "memory") 250)"#;
/// Room that grows: what guests of real languages do.
const GROWING: &str = r#"
  (global $top (mut i32) (i32.const 65536))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (drop (memory.grow (i32.add (i32.shr_u (local.get 3) (i32.const 16)) (i32.const 1))))
    (global.get $top)
    (global.set $top (i32.add (global.get $top) (local.get 3))))"#;

/// A result at 1024: the list of effects with pointer and length given.
macro_rules! effects {
    ($at:literal, $len:literal) => {
        concat!(
            "(call $drop (local.get $facts)) (i32.store (i32.const 1024) (i32.const 0)) (i32.store (i32.const 1028) (i32.const ", $at,
            ")) (i32.store (i32.const 1032) (i32.const ", $len, ")) (i32.const 1024)"
        )
    };
}

pub const BOMBS: &[Bomb] = &[
    bomb("a loop without end", "", "(loop $l (br $l)) (i32.const 0)", Budget, "more than 20000 operations"),
    generous("the same with all operations", "", "(loop $l (br $l)) (i32.const 0)", CpuTime, "20 ms of CPU"),
    bomb("calls in a loop", "(func $f (result i32) (i32.const 1))",
        "(loop $l (br_if $l (call $f))) (i32.const 0)", Budget, "operations"),
    generous("recursion", "(func $f (param i32) (result i32) (i32.add (call $f (local.get 0)) (call $f (local.get 0))))",
        "(call $f (i32.const 1))", Budget, "nested too deep"),
    bomb("recursion of two", "(func $f (param i32) (result i32) (i32.add (i32.const 1) (call $g (local.get 0))))
        (func $g (param i32) (result i32) (i32.mul (i32.const 3) (call $f (local.get 0))))",
        "(call $f (i32.const 1))", Budget, ""),
    bomb("recursion through a table", "(type $t (func (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $f)
        (func $f (type $t) (i32.add (i32.const 1) (call_indirect (type $t) (local.get 0) (i32.const 0))))",
        "(call $f (i32.const 1))", Budget, ""),
    bomb("a tree of calls", "(func $f (param i32) (result i32) (if (result i32) (local.get 0)
        (then (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (call $f (i32.sub (local.get 0) (i32.const 1)))))
        (else (i32.const 1))))", "(call $f (i32.const 60))", Budget, "operations"),
    generous("memory page by page", "", "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)",
        Budget, "16777216 bytes of memory"),
    generous("all memory at once", "", "(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then (unreachable))) (i32.const 0)",
        Budget, "16777216 bytes of memory"),
    bomb("memory to begin with", r#"(memory (export "memory") 300)"#, "(i32.const 0)", Budget, "bytes of memory"),
    generous("all memory filled again and again", BIG,
        "(loop $l (memory.fill (i32.const 0) (local.get $i) (i32.const 16000000)) (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l)) (i32.const 0)",
        CpuTime, "20 ms of CPU"),
    bomb("the same by default", BIG, "(loop $l (memory.fill (i32.const 0) (local.get $i) (i32.const 16000000)) (br $l)) (i32.const 0)",
        Budget, "operations"),
    generous("all memory copied", BIG, "(loop $l (memory.copy (i32.const 0) (i32.const 8000000) (i32.const 8000000)) (br $l)) (i32.const 0)",
        CpuTime, "20 ms of CPU"),
    generous("every page touched again and again", BIG,
        "(loop $l (i32.store8 (i32.and (local.get $i) (i32.const 16383999)) (i32.const 7)) (local.set $i (i32.add (local.get $i) (i32.const 4096))) (br $l)) (i32.const 0)",
        CpuTime, "20 ms of CPU"),
    generous("tables that grow", "(table $t 1 funcref)",
        "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 50000)) (i32.const -1)))) (unreachable)",
        Error, "broke off"),
    generous("a table filled again and again", "(table $t 99000 funcref) (elem declare func $g) (func $g)",
        "(loop $l (table.fill $t (i32.const 0) (ref.func $g) (i32.const 99000)) (br $l)) (i32.const 0)", CpuTime, "20 ms of CPU"),
    bomb("unreachable", "", "(unreachable)", Error, "broke off"),
    bomb("a division by zero", "", "(i32.div_s (i32.const 1) (local.get $i))", Error, "divide by zero"),
    bomb("a division too far", "", "(i32.div_s (i32.const 0x80000000) (i32.const -1))", Error, "overflow"),
    bomb("a number that is none", "", "(i32.trunc_f64_s (f64.const nan))", Error, "conversion"),
    bomb("memory that is not there", "", "(i32.load (i32.const 0x7fffffff))", Error, "out of bounds memory"),
    bomb("a call to nothing", "(type $t (func)) (table 1 funcref)", "(call_indirect (type $t) (i32.const 0)) (i32.const 0)",
        Error, "uninitialized element"),
    bomb("a call beyond the table", "(type $t (func)) (table 1 funcref)", "(call_indirect (type $t) (i32.const 9)) (i32.const 0)",
        Error, "table"),
    bomb("a call of another type", "(type $t (func)) (table 1 funcref) (elem (i32.const 0) $g) (func $g (param i32))",
        "(call_indirect (type $t) (i32.const 0)) (i32.const 0)", Error, "type mismatch"),
    bomb("work before it is asked", "(func $s (loop $l (br $l))) (start $s)", "(i32.const 0)", Budget, "operations"),
    bomb("a result that is not there", "", "(call $drop (local.get $facts)) (i32.const 0x7ffffff0)", Error, "out of bounds"),
    bomb("a result not aligned", "", "(call $drop (local.get $facts)) (i32.const 1027)", Error, "align"),
    bomb("a result of no kind", "", "(call $drop (local.get $facts)) (i32.store (i32.const 1024) (i32.const 7)) (i32.const 1024)", Error, ""),
    bomb("a list longer than memory", "", effects!("8", "0x7fffffff"), Error, ""),
    bomb("a list as long as memory", BIG, effects!("8", "500000"), Budget, "bytes said at once"),
    generous("the same with all bytes", BIG, effects!("65536", "500000"), Budget, "bytes read or said"),
    bomb("many empty effects", BIG, effects!("65536", "5000"), Error, "at most 256 effects"),
    generous("one long text said many times", BIG,
        concat!("(loop $l (i32.store (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 32))) (i32.const 11))
          (i32.store (i32.add (i32.const 65544) (i32.mul (local.get $i) (i32.const 32))) (i32.const 100000))
          (i32.store (i32.add (i32.const 65548) (i32.mul (local.get $i) (i32.const 32))) (i32.const 8000000))
          (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 256))))",
          effects!("65536", "256")), Budget, "bytes"),
    bomb("an error longer than is read", BIG,
        "(call $drop (local.get $facts)) (i32.store (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1032) (i32.const 16000000)) (i32.const 1024)", Budget, "bytes said at once"),
    bomb("an error that is no text", "",
        "(call $drop (local.get $facts)) (i32.store (i32.const 0) (i32.const -1)) (i32.store (i32.const 1024) (i32.const 1)) (i32.store (i32.const 1032) (i32.const 4)) (i32.const 1024)", Error, "utf-8"),
    bomb("an effect of no kind", "", concat!("(i32.store (i32.const 2048) (i32.const 77))", effects!("2048", "1")), Error, ""),
    bomb("a fact asked without end", "", "(loop $l (local.set $w (call $time (local.get $facts))) (br $l)) (i32.const 0)",
        Budget, "operations"),
    generous("the same with all operations", "", "(loop $l (local.set $w (call $time (local.get $facts))) (br $l)) (i32.const 0)",
        CpuTime, "20 ms of CPU"),
    bomb("a text asked without end", "", "(loop $l (call $agent (local.get $facts) (i32.const 1024)) (br $l)) (i32.const 0)", Budget, "bytes"),
    generous("the same with all bytes", "", "(loop $l (call $agent (local.get $facts) (i32.const 1024)) (br $l)) (i32.const 0)",
        CpuTime, "20 ms of CPU"),
    bomb("a handle used after it is dropped", "", "(call $drop (local.get $facts)) (local.set $w (call $time (local.get $facts))) (i32.const 0)", Error, "handle"),
    bomb("a list asked without end", "", "(loop $l (call $roles (local.get $facts) (i32.const 1024)) (br $l)) (i32.const 0)", Budget, "bytes"),
    generous("a list that grows memory", GROWING, "(loop $l (call $roles (local.get $facts) (i32.const 1024)) (br $l)) (i32.const 0)",
        Budget, "bytes"),
    bomb("the words looked through again and again", "",
        "(loop $l (drop (call $contains (local.get $facts) (i32.const 0) (i32.const 8))) (br $l)) (i32.const 0)", Budget, "bytes"),
    generous("the same with all bytes", "",
        "(loop $l (drop (call $contains (local.get $facts) (i32.const 0) (i32.const 8))) (br $l)) (i32.const 0)", CpuTime, "20 ms of CPU"),
    generous("a needle of almost the words", BIG,
        "(memory.fill (i32.const 0) (i32.const 116) (i32.const 900000)) (loop $l (drop (call $contains (local.get $facts) (i32.const 0) (i32.const 900000))) (br $l)) (i32.const 0)", CpuTime, "20 ms of CPU"),
    generous("all the words copied", r#"(memory (export "memory") 100)"#,
        "(loop $l (call $slice (local.get $facts) (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 1024)) (br $l)) (i32.const 0)", CpuTime, "20 ms of CPU"),
    bomb("needles without number", BIG, "(call $find (local.get $facts) (i32.const 65536) (i32.const 1000000) (i32.const 1024)) (i32.const 0)",
        Budget, "bytes said at once"),
    generous("more needles than are taken", BIG, "(call $find (local.get $facts) (i32.const 65536) (i32.const 100000) (i32.const 1024)) (i32.const 0)",
        Error, "at most 256 needles"),
    generous("needles found everywhere", "", "(loop $n (i32.store (i32.add (i32.const 2048) (i32.mul (local.get $i) (i32.const 8))) (i32.const 0))
        (i32.store (i32.add (i32.const 2052) (i32.mul (local.get $i) (i32.const 8))) (i32.const 1))
        (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $n (i32.lt_u (local.get $i) (i32.const 200))))
        (i32.store8 (i32.const 0) (i32.const 122))
        (loop $l (call $find (local.get $facts) (i32.const 2048) (i32.const 200) (i32.const 1024)) (br $l)) (i32.const 0)", CpuTime, "20 ms of CPU"),
    bomb("a handle that nobody gave", "", "(drop (call $time (i32.const 42))) (i32.const 0)", Error, "handle"),
    bomb("buckets without end", "", "(loop $l (i32.store (i32.const 0) (local.get $i)) (i32.store8 (i32.const 3) (i32.const 0))
        (i32.store8 (i32.const 0) (i32.and (local.get $i) (i32.const 127))) (i32.store8 (i32.const 1) (i32.and (i32.shr_u (local.get $i) (i32.const 7)) (i32.const 127)))
        (drop (call $bucket (local.get $facts) (i32.const 0) (i32.const 4) (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l)) (i32.const 0)", Error, "buckets"),
    bomb("room that is not there", r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x7fffffff))"#,
        "(call $agent (local.get $facts) (i32.const 1024)) (i32.const 0)", Error, ""),
    bomb("room without end", r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (loop $l (br $l)) (i32.const 0))"#,
        "(call $agent (local.get $facts) (i32.const 1024)) (i32.const 0)", Budget, "operations"),
    bomb("asking while giving room", r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (call $agent (i32.const 1) (i32.const 1024)) (i32.const 0))"#,
        "(call $agent (local.get $facts) (i32.const 1024)) (i32.const 0)", Error, ""),
    generous("floats for ever", "", "(loop $l (local.set $w (i64.reinterpret_f64 (f64.sqrt (f64.div (f64.convert_i64_s (local.get $w)) (f64.const 1.1))))) (br $l)) (i32.const 0)",
        CpuTime, "20 ms of CPU"),
    bomb("names of parameters without end", BIG, "(loop $l (call $param (local.get $facts) (i32.const 0) (i32.const 100000) (i32.const 1024)) (br $l)) (i32.const 0)",
        Budget, "bytes"),
];
