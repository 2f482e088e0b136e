//! What a repair found and did, for people and for scripts.

use std::fmt::Write as _;

use serde::Serialize;

/// What became of one part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is whole.
    Clean,
    /// Something to know; nothing is to be done.
    Note,
    /// It was damaged, and was repaired.
    Repaired,
    /// It is damaged and can be repaired, but nothing was to be changed.
    Repairable,
    /// It is damaged, and what can be done loses data or is for somebody else to do.
    Decision,
}

/// One part of the data.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    /// What it is: `store of logs`, `log`, `state`, `index`, `text index`, `catalogue`, `identity`, `checkpoint`.
    pub part: &'static str,
    /// Whose it is.
    pub of: String,
    /// Where it is, below the data directory or as a URL.
    pub path: String,
    /// What became of it.
    pub outcome: Outcome,
    /// What was found.
    pub found: String,
    /// What was done, would be done, or can be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// What `--accept-loss` must name for the action to be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// Records that the action loses, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_records: Option<u64>,
    /// Log entries that the action loses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_entries: Option<u64>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The data directory.
    pub data_dir: String,
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Below the data directory, where what was replaced is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_in: Option<String>,
    /// Part by part.
    pub items: Vec<Item>,
}

impl Report {
    /// 0 if all is whole, 1 if something was or can be repaired without loss, 2 if something needs
    /// a decision.
    pub fn exit_code(&self) -> u8 {
        let has = |outcome| self.items.iter().any(|item| item.outcome == outcome);
        if has(Outcome::Decision) {
            2
        } else {
            u8::from(has(Outcome::Repaired) || has(Outcome::Repairable))
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            let Item { part, of, path, found, action, .. } = item;
            let outcome = match item.outcome {
                Outcome::Clean => "clean",
                Outcome::Note => "note",
                Outcome::Repaired => "REPAIRED",
                Outcome::Repairable => "DAMAGED, can be repaired",
                Outcome::Decision => "DAMAGED, needs a decision",
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{part:<10}  {of}: {outcome}");
            if item.outcome == Outcome::Clean {
                continue;
            }
            let _ = writeln!(text, "            {path}: {found}");
            if !action.is_empty() {
                let _ = writeln!(text, "            {action}");
            }
            let lost = [(item.lost_records, "records"), (item.lost_entries, "log entries")];
            for (count, what) in lost {
                if let Some(count) = count {
                    let _ = writeln!(text, "            {what} lost: {count}");
                }
            }
            if let Some(accept) = &item.accept
                && item.outcome == Outcome::Decision
            {
                let _ = writeln!(text, "            to accept it: --accept-loss {accept}");
            }
        }
        if let Some(folder) = &self.kept_in {
            let _ = writeln!(text, "What was replaced is kept in {}/{folder}.", self.data_dir);
        }
        let _ = writeln!(text, "{}", self.summary());
        text
    }

    fn summary(&self) -> &'static str {
        match (self.exit_code(), self.dry_run) {
            (0, _) => "Everything is whole.",
            (1, true) => "What is damaged can be repaired without loss; nothing was changed.",
            (1, false) => "What was damaged is repaired; nothing was lost but what is said above.",
            (_, true) => "Something needs a decision; nothing was changed.",
            (_, false) => "Something needs a decision; it was left as it is.",
        }
    }
}
