//! `cargo xtask test`: every check in order, each with its duration, and one table at the end.

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use xtask::{places, report};

use crate::{cargo::cargo, heavy, lines, prerequisites, processes};

/// The version of cargo-deny that is installed into the cache when none is there.
const CARGO_DENY: &str = "0.20.2";

/// What is deliberately not part of a run, said at its end.
const NOT_DONE: &str = "Not done here: `cargo deny check advisories` (security advisories), because \
                        it needs a database from the network that this run must work without.";

/// Tests that say nothing for so long wait for something that does not come. The first words of a
/// run come after all tests are compiled.
const SILENCE: Duration = Duration::from_mins(30);

/// The same where single tests take long.
const LONG_SILENCE: Duration = Duration::from_mins(90);

/// What a test writes, past the harness, before the reason for which it does nothing.
const SKIPPED: &str = "SKIPPED: ";

/// What one check found.
enum Outcome {
    /// All fine; how many single tests stand behind it (1 for a check without tests), and how many
    /// had to be skipped.
    Passed { tests: usize, skipped: usize, note: String },
    /// Not fine.
    Failed { passed: usize, failed: usize, note: String },
    /// Could not be done, and why.
    Skipped(String),
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

type Check = fn() -> Result<Outcome>;

/// Runs all checks; a later one runs although an earlier one failed, except that nothing can be
/// built without the prerequisites.
pub(crate) fn run(full: bool) -> ExitCode {
    let mut checks: Vec<(&'static str, Check)> = vec![
        ("prerequisites", || Ok(check_prerequisites())),
        ("format", || cargo_check(&["fmt", "--all", "--check"])),
        ("licences and sources", check_dependencies),
        ("clippy", || {
            let lint = ["clippy", "--workspace", "--all-targets", "--locked", "--"];
            cargo_check(&[lint.as_slice(), &["-D", "warnings"]].concat())
        }),
        ("build", || cargo_check(&["build", "--workspace", "--bins", "--locked"])),
        ("tests", || {
            let select = ["test", "--workspace", "--locked", "--no-fail-fast"];
            cargo_test(&[select.as_slice(), &["--lib", "--bins", "--tests"]].concat(), SILENCE)
        }),
        ("doc-tests", || {
            cargo_test(&["test", "--workspace", "--locked", "--no-fail-fast", "--doc"], SILENCE)
        }),
        ("rustdoc", || cargo_check(&["doc", "--workspace", "--no-deps", "--locked"])),
    ];
    if full {
        checks.push(("long tests", || {
            let select = ["test", "--workspace", "--locked", "--no-fail-fast"];
            cargo_test(
                &[select.as_slice(), &["--lib", "--bins", "--tests", "--", "--ignored"]].concat(),
                LONG_SILENCE,
            )
        }));
        checks.push(("demo", || Ok(from_exit(heavy::run_bench(&["demo"])?))));
        checks.push(("bench wordnet", || Ok(from_exit(heavy::run_bench(&["bench", "wordnet"])?))));
    }
    let started = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    for (name, check) in checks {
        println!("\n== {name}");
        let begun = Instant::now();
        let outcome = check().unwrap_or_else(|error| failed(&format!("{error:#}")));
        let row = Row { name, outcome, took: begun.elapsed() };
        println!("== {name}: {} in {}", word(&row.outcome), duration(row.took));
        let hopeless = name == "prerequisites" && matches!(row.outcome, Outcome::Failed { .. });
        rows.push(row);
        if hopeless {
            break;
        }
    }
    conclude(&rows, started.elapsed(), skips_are_refused())
}

fn skips_are_refused() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// Prints the table and the closing line.
fn conclude(rows: &[Row], took: Duration, refuse_skips: bool) -> ExitCode {
    let summary = summarise(rows);
    println!("\n{}\n{NOT_DONE}\nAll of it took {}.", summary.table, duration(took));
    let refused = refuse_skips && summary.skipped > 0;
    if refused {
        println!("{} skipped: with CI=true nothing may be.", summary.skipped);
    }
    println!("{} passed, {} failed", summary.passed, summary.failed + usize::from(refused));
    if summary.failed == 0 && !refused { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Summary {
    table: String,
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn summarise(rows: &[Row]) -> Summary {
    let mut cells = vec![["check", "result", "tests", "took", "note"].map(String::from)];
    let (mut all_passed, mut all_failed, mut skipped) = (0, 0, 0);
    for row in rows {
        let (tests, note) = match &row.outcome {
            Outcome::Passed { tests, skipped: some, note } => {
                all_passed += tests;
                skipped += some;
                (tests.to_string(), note.clone())
            }
            Outcome::Failed { passed, failed, note } => {
                all_passed += passed;
                all_failed += failed;
                (format!("{failed} of {}", passed + failed), note.clone())
            }
            Outcome::Skipped(reason) => {
                skipped += 1;
                (String::from("-"), reason.clone())
            }
        };
        // Only the first line fits into a table; all of it stands with the check above.
        let note = note.lines().next().unwrap_or_default().to_owned();
        let name = row.name.to_owned();
        cells.push([name, word(&row.outcome).to_owned(), tests, duration(row.took), note]);
    }
    Summary {
        table: report::align(&cells, &[2, 3]),
        passed: all_passed,
        failed: all_failed,
        skipped,
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed { .. } => "passed",
        Outcome::Failed { .. } => "FAILED",
        Outcome::Skipped(_) => "skipped",
    }
}

fn passed() -> Outcome {
    Outcome::Passed { tests: 1, skipped: 0, note: String::new() }
}

fn from_exit(code: ExitCode) -> Outcome {
    if code == ExitCode::SUCCESS { passed() } else { failed("see above") }
}

fn failed(note: &str) -> Outcome {
    println!("{note}");
    Outcome::Failed { passed: 0, failed: 1, note: note.to_owned() }
}

fn duration(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", took.as_secs() / 60, took.as_secs() % 60)
    }
}

fn check_prerequisites() -> Outcome {
    let missing = prerequisites::missing(prerequisites::Purpose::Test);
    if missing.is_empty() {
        let tests = prerequisites::count();
        return Outcome::Passed { tests, skipped: 0, note: String::new() };
    }
    failed(&missing.join("\n"))
}

/// Licences, banned crates and sources of all dependencies. The tool is built once per version
/// and kept in the cache.
fn check_dependencies() -> Result<Outcome> {
    let tool = match cargo_deny() {
        Ok(tool) => tool,
        Err(reason) => {
            println!("{reason:#}");
            return Ok(Outcome::Skipped(format!("{reason:#}")));
        }
    };
    let mut command = Command::new(tool);
    command.args(["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"]);
    run_check(command)
}

fn cargo_deny() -> Result<PathBuf> {
    let folder = places::cache_dir()?.join(format!("tools/cargo-deny-{CARGO_DENY}"));
    let tool = folder.join("bin/cargo-deny");
    if tool.is_file() {
        return Ok(tool);
    }
    println!("building cargo-deny {CARGO_DENY}, once, into {}", folder.display());
    let build = env::temp_dir().join(format!("cargo-deny-build-{}", std::process::id()));
    // Unoptimised: it runs for seconds, and an optimised build takes minutes.
    let status = cargo()
        .args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet", "--debug"])
        .arg("--no-default-features")
        .arg("--root")
        .arg(&folder)
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .status();
    let _ = std::fs::remove_dir_all(&build);
    ensure!(
        status.context("cannot start cargo")?.success() && tool.is_file(),
        "cargo-deny {CARGO_DENY} could not be built: is there a network? by hand: cargo install \
         cargo-deny --version {CARGO_DENY} --locked --root {}",
        folder.display()
    );
    Ok(tool)
}

fn cargo_check(arguments: &[&str]) -> Result<Outcome> {
    let mut command = cargo();
    command.args(arguments).env("RUSTDOCFLAGS", "-D warnings");
    run_check(command)
}

fn run_check(mut command: Command) -> Result<Outcome> {
    let status = command
        .current_dir(places::workspace_root())
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(if status.success() { passed() } else { failed("see above") })
}

/// Where the check "build" put the programs: beside this one, which the same cargo built.
fn programs_folder() -> PathBuf {
    let this = env::current_exe().unwrap_or_default();
    this.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Runs `cargo test`, shows its output as it comes and counts the tests in it. After `silence`
/// without output it is ended, with the test programs that it started.
fn cargo_test(arguments: &[&str], silence: Duration) -> Result<Outcome> {
    let mut command = cargo();
    let mut child = command
        .args(arguments)
        .env("HVS_TEST_PROGRAMS", programs_folder())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut tally = Tally::default();
    let ended = lines::until_silent(output, silence, |line| {
        tally.see(line);
        writeln!(std::io::stdout(), "{line}")
    })?;
    if !ended {
        processes::end_all(child.id());
        tally.failures.push(format!("nothing was said for {}", duration(silence)));
    }
    let success = child.wait()?.success();
    Ok(tally.outcome(success && ended))
}

/// Counts what the test programs report.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    left_for_full: usize,
    /// Ignored for another reason than taking long: nothing may rest unseen.
    ignored: Vec<String>,
    failures: Vec<String>,
    /// What tests said that could not be done here. The test harness counts them as passed.
    skipped: Vec<String>,
}

impl Tally {
    fn see(&mut self, line: &str) {
        if let Some((_, what)) = line.split_once(SKIPPED) {
            self.skipped.push(what.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += count_before(result, " passed");
            self.failed += count_before(result, " failed");
        } else if let Some((test, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
        {
            match outcome.strip_prefix("ignored") {
                Some(reason) if reason.starts_with(", full: ") => self.left_for_full += 1,
                Some(_) => self.ignored.push(test.to_owned()),
                None if outcome == "FAILED" => self.failures.push(test.to_owned()),
                None => {}
            }
        }
    }

    fn outcome(self, success: bool) -> Outcome {
        let ran = (self.passed + self.failed).saturating_sub(self.skipped.len());
        if !success || self.failed > 0 {
            let note = match self.failures.as_slice() {
                [] => String::from("a test program did not end well, see above"),
                names => names.join(", "),
            };
            return Outcome::Failed { passed: self.passed, failed: self.failed.max(1), note };
        }
        if !self.ignored.is_empty() {
            let note = format!("ignored, but not as \"full: ...\": {}", self.ignored.join(", "));
            return Outcome::Failed { passed: self.passed, failed: self.ignored.len(), note };
        }
        let skipped = self.skipped.len();
        let notes = [
            (self.left_for_full > 0)
                .then(|| format!("{} long ones left for --full", self.left_for_full)),
            (skipped > 0).then(|| format!("{skipped} skipped: {}", self.skipped.join("; "))),
        ];
        let note = notes.into_iter().flatten().collect::<Vec<_>>().join(", ");
        Outcome::Passed { tests: ran, skipped, note }
    }
}

/// The number directly before `label` in a text such as "ok. 3 passed; 0 failed".
fn count_before(text: &str, label: &str) -> usize {
    let before = text.split(label).next().unwrap_or_default();
    let digits = before.rsplit(|character: char| !character.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.see(line);
        }
        tally
    }

    #[test]
    fn tests_are_counted_over_all_programs() {
        let seen = tally(&[
            "test a::b ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test c ... ignored, full: embeds WordNet",
            "test result: ok. 30 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ]);
        let Outcome::Passed { tests, skipped, note } = seen.outcome(true) else {
            panic!("not passed")
        };
        assert_eq!((tests, skipped, note.as_str()), (42, 0, "1 long ones left for --full"));
    }

    #[test]
    fn tests_that_could_not_be_done_are_no_passed_ones() {
        let lines = [
            "SKIPPED: full_disk needs the right to mount",
            "test full_disk ... ok",
            // With one thread the harness has written the name by then.
            "test read_only ... SKIPPED: read_only needs the right to mount",
            "ok",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ];
        let outcome = tally(&lines).outcome(true);
        let row = |outcome| [Row { name: "tests", outcome, took: Duration::ZERO }];
        let rows = row(outcome);
        let summary = summarise(&rows);
        assert_eq!((summary.passed, summary.failed, summary.skipped), (10, 0, 2));
        assert!(summary.table.contains("2 skipped: full_disk needs the right to mount;"));
        assert_eq!(conclude(&rows, Duration::ZERO, false), ExitCode::SUCCESS);
        assert_eq!(conclude(&rows, Duration::ZERO, true), ExitCode::FAILURE);
    }

    #[test]
    fn failures_are_named() {
        let seen = tally(&[
            "test a::b ... FAILED",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ]);
        let Outcome::Failed { passed, failed, note } = seen.outcome(false) else {
            panic!("not failed")
        };
        assert_eq!((passed, failed, note.as_str()), (3, 1, "a::b"));
    }

    #[test]
    fn a_program_that_dies_is_a_failure_without_a_count() {
        let seen = tally(&["test result: ok. 3 passed; 0 failed; 0 ignored"]);
        assert!(matches!(seen.outcome(false), Outcome::Failed { passed: 3, failed: 1, .. }));
    }

    #[test]
    fn an_ignored_test_without_a_reason_is_refused() {
        let seen = tally(&["test slow ... ignored", "test result: ok. 3 passed; 0 failed"]);
        assert!(matches!(seen.outcome(true), Outcome::Failed { passed: 3, failed: 1, .. }));
    }

    #[test]
    fn skips_are_refused_only_when_asked() {
        let rows = [
            Row { name: "one", outcome: passed(), took: Duration::from_secs(1) },
            Row {
                name: "two",
                outcome: Outcome::Skipped("no network".into()),
                took: Duration::from_secs(61),
            },
        ];
        assert_eq!(conclude(&rows, Duration::ZERO, false), ExitCode::SUCCESS);
        assert_eq!(conclude(&rows, Duration::ZERO, true), ExitCode::FAILURE);
        let summary = summarise(&rows);
        assert_eq!((summary.passed, summary.failed, summary.skipped), (1, 0, 1));
        assert!(summary.table.contains("no network") && summary.table.contains("1 min 01 s"));
    }
}
