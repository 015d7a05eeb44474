//! Rebuilds the crate when a built-in policy changes: the embedding macro cannot say so itself.

fn main() {
    println!("cargo::rerun-if-changed=../stdlib-policies");
}
