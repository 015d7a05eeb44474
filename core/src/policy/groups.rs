//! The groups of facts: what a policy names in `reads`, and at which hooks each is known.

use serde::{Deserialize, Serialize};

use super::Hook;

/// The groups that a policy names in `reads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    Call,
    Caller,
    Meta,
    Intent,
    Prompt,
    Text,
    Budget,
    Rate,
    Answer,
}

impl Group {
    pub const ALL: [Group; 9] = [
        Group::Call,
        Group::Caller,
        Group::Meta,
        Group::Intent,
        Group::Prompt,
        Group::Text,
        Group::Budget,
        Group::Rate,
        Group::Answer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Group::Call => "call",
            Group::Caller => "caller",
            Group::Meta => "meta",
            Group::Intent => "intent",
            Group::Prompt => "prompt",
            Group::Text => "text",
            Group::Budget => "budget",
            Group::Rate => "rate",
            Group::Answer => "answer",
        }
    }

    pub fn named(name: &str) -> Option<Group> {
        Group::ALL.into_iter().find(|g| g.name() == name)
    }

    /// Are its facts known at this hook?
    pub fn known_at(self, hook: Hook) -> bool {
        match self {
            Group::Call | Group::Caller | Group::Meta => true,
            Group::Intent | Group::Prompt | Group::Text | Group::Budget | Group::Rate => hook != Hook::PreAuth,
            Group::Answer => hook == Hook::PostResponse,
        }
    }
}

/// A set of groups, small enough to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupSet(u16);

impl GroupSet {
    /// Every group.
    pub fn all() -> GroupSet {
        let mut all = GroupSet::default();
        Group::ALL.into_iter().for_each(|group| all.insert(group));
        all
    }

    pub fn insert(&mut self, group: Group) {
        self.0 |= 1 << group as u16;
    }

    pub fn remove(&mut self, group: Group) {
        self.0 &= !(1 << group as u16);
    }

    pub fn contains(self, group: Group) -> bool {
        self.0 & (1 << group as u16) != 0
    }

    pub fn union(self, other: GroupSet) -> GroupSet {
        GroupSet(self.0 | other.0)
    }
}
