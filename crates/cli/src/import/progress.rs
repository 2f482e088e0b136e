//! How far an import has come, on standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    output::grouped,
    read::{Extent, Position},
};

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A bar with rate and remaining time on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    extent: Extent,
    begun_at: Position,
    started: Instant,
    last_line: Instant,
    quiet: bool,
}

impl Progress {
    /// `quiet` for scripts: nothing is printed.
    pub(super) fn new(extent: Extent, begun_at: Position, quiet: bool) -> Self {
        let is_seen = !quiet && io::stderr().is_terminal();
        let bar = is_seen.then(|| bar(extent, begun_at));
        let now = Instant::now();
        Self { bar, extent, begun_at, started: now, last_line: now, quiet }
    }

    pub(super) fn set(&mut self, position: Position) {
        if let Some(bar) = &self.bar {
            bar.set_position(amount(self.extent, position));
            bar.set_message(format!("{} rows", grouped(position.row)));
            return;
        }
        if self.quiet || self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (position.row - self.begun_at.row) as f64 / seconds;
        let remaining = self.remaining(position, seconds);
        self.print(&format!("{} rows, {rate:.0} rows/s{remaining}", grouped(position.row)));
    }

    fn remaining(&self, position: Position, seconds: f64) -> String {
        let (Extent::Bytes(all) | Extent::Rows(all)) = self.extent else { return String::new() };
        let now = amount(self.extent, position);
        let done = now.saturating_sub(amount(self.extent, self.begun_at));
        if done == 0 {
            return String::new();
        }
        let left = all.saturating_sub(now) as f64 * seconds / done as f64;
        format!(", {left:.0} s to go")
    }

    /// A line that must not tear the bar.
    pub(super) fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprint_line(text)),
            None => eprint_line(text),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Nobody is left to tell when standard error is gone.
fn eprint_line(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn bar(extent: Extent, begun_at: Position) -> ProgressBar {
    let (bar, template) = match extent {
        Extent::Bytes(bytes) => (
            ProgressBar::new(bytes),
            "{bar:30} {percent:>3}%  {msg}  {bytes}/{total_bytes}  {bytes_per_sec}  {eta} to go",
        ),
        Extent::Rows(rows) => (
            ProgressBar::new(rows),
            "{bar:30} {percent:>3}%  {human_pos}/{human_len} rows  {per_sec}  {eta} to go",
        ),
        Extent::Unknown => (ProgressBar::no_length(), "{spinner}  {msg}  {elapsed}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    // The rate is that of this run, not of the rows that an earlier one has done.
    bar.set_position(amount(extent, begun_at));
    bar.reset_eta();
    bar
}

fn amount(extent: Extent, position: Position) -> u64 {
    match extent {
        Extent::Bytes(_) => position.byte,
        Extent::Rows(_) | Extent::Unknown => position.row,
    }
}
