//! Rebuilds when the repository that `policy init` writes changes: the embedding macro cannot say so itself.

fn main() {
    println!("cargo::rerun-if-changed=../examples/03-policies-from-git/policies");
}
