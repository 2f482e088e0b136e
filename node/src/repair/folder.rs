//! The data directory while it is repaired: nobody else has it, and what is built takes its place
//! as a whole or is built again.
//!
//! Everything is built below `repair-work`. Then the file `repairing` says what is to be moved
//! where; from then on a node refuses to start, and a repair that is repeated goes on with the
//! moves. Each of them first moves what is there into `damaged-TIME`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::RepairError;

const WORK: &str = "repair-work";
const PLAN: &str = "repairing";
const REPORT: &str = "report.txt";

/// What is to be moved where, below the data directory.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Plan {
    /// Where what is replaced goes.
    aside: PathBuf,
    /// From below the folder of work, to below the data directory.
    moves: Vec<(PathBuf, PathBuf)>,
    /// What is to be told of it, if whoever made it is killed before that.
    #[serde(default)]
    report: String,
}

/// A repair that was ended while it moved its results, and is finished now.
pub(super) struct Finished {
    /// Where what was replaced is, below the data directory.
    pub(super) aside: String,
    /// What it had to tell.
    pub(super) report: String,
}

/// The data directory, held.
pub(super) struct Folder {
    path: PathBuf,
    plan: Plan,
    /// The lock of the store of logs, which a running node holds.
    _lock: Option<File>,
}

/// Whether a repair was interrupted while it moved things.
pub(crate) fn is_unfinished(data_dir: &Path) -> bool {
    data_dir.join(PLAN).exists()
}

/// Removes what was worked with when a repair fails, unless it was moving results already.
pub(super) fn discard_work(data_dir: &Path) {
    if !is_unfinished(data_dir) {
        // What cannot be removed now is by the next repair.
        let _ = fs::remove_dir_all(data_dir.join(WORK));
    }
}

impl Folder {
    /// Takes the directory and finishes what an interrupted repair left, unless nothing is to be
    /// changed.
    pub(super) fn take(
        path: &Path,
        dry_run: bool,
    ) -> Result<(Self, Option<Finished>), RepairError> {
        // A new node begins with the first of these; a repair that was interrupted has the last.
        let is_there = |name: &&str| path.join(name).exists();
        if !["node.json", "kv", "shards", WORK].iter().any(is_there) {
            return Err(RepairError::NoData { path: path.to_owned() });
        }
        let lock = lock(&path.join("kv").join("lock"), path)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut aside = PathBuf::from(format!("damaged-{since}"));
        // Another repair may have been done within the same second.
        for more in 2_u32.. {
            if !path.join(&aside).exists() {
                break;
            }
            aside = PathBuf::from(format!("damaged-{since}-{more}"));
        }
        let plan = Plan { aside, ..Plan::default() };
        let folder = Self { path: path.to_owned(), plan, _lock: lock };
        if dry_run && is_unfinished(path) {
            return Err(RepairError::Unfinished { path: path.to_owned() });
        }
        let finished = folder.finish_interrupted()?;
        Ok((folder, finished))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder to work in, which is not there yet.
    pub(super) fn work(&self, below: &Path) -> Result<PathBuf, RepairError> {
        let path = self.path.join(WORK).join(below);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(io_error(&path))?;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io_error(parent))?;
        }
        Ok(path)
    }

    /// Where something in the folder of work is.
    pub(super) fn path_of_work(&self, below: &Path) -> PathBuf {
        self.path.join(WORK).join(below)
    }

    /// What was built in the folder of work is to be moved to a place below the data directory.
    pub(super) fn replace(&mut self, from: &Path, to: &Path) {
        let below = from.strip_prefix(self.path.join(WORK)).unwrap_or(from);
        self.plan.moves.push((below.to_owned(), to.to_owned()));
    }

    /// Nothing is to be moved to a place below this one after all.
    pub(super) fn leave(&mut self, below: &Path) {
        self.plan.moves.retain(|(_, to)| !to.starts_with(below));
    }

    /// Writes a file that is to be moved to a place.
    pub(super) fn replace_file(&mut self, to: &Path, bytes: &[u8]) -> Result<(), RepairError> {
        let path = self.work(to)?;
        fs::write(&path, bytes).map_err(io_error(&path))?;
        self.replace(&path, to);
        Ok(())
    }

    /// Where what is replaced goes, below the data directory; none if nothing is.
    pub(super) fn aside(&self) -> Option<String> {
        (!self.plan.moves.is_empty()).then(|| self.plan.aside.display().to_string())
    }

    /// Makes the moves. `report` is what is told of them, if not by this process.
    pub(super) fn carry_out(mut self, report: String) -> Result<(), RepairError> {
        if self.plan.moves.is_empty() {
            return self.clean();
        }
        self.plan.report = report;
        sync_all_below(&self.path.join(WORK))?;
        let bytes = serde_json::to_vec(&self.plan).map_err(|error| RepairError::Io {
            path: self.path.join(PLAN),
            source: error.into(),
        })?;
        let (path, temporary) = (self.path.join(PLAN), self.path.join("repairing.new"));
        let mut file = File::create(&temporary).map_err(io_error(&temporary))?;
        file.write_all(&bytes).map_err(io_error(&temporary))?;
        file.sync_all().map_err(io_error(&temporary))?;
        fs::rename(&temporary, &path).map_err(io_error(&path))?;
        sync(&self.path)?;
        self.make_moves(&self.plan)
    }

    /// Removes what was only worked with.
    pub(super) fn clean(&self) -> Result<(), RepairError> {
        let work = self.path.join(WORK);
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&work)(error)),
            _ => Ok(()),
        }
    }

    fn finish_interrupted(&self) -> Result<Option<Finished>, RepairError> {
        let path = self.path.join(PLAN);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.clean().map(|()| None);
            }
            Err(error) => return Err(io_error(&path)(error)),
        };
        let plan: Plan = serde_json::from_slice(&bytes)
            .map_err(|error| RepairError::Io { path, source: error.into() })?;
        self.make_moves(&plan)?;
        Ok(Some(Finished { aside: plan.aside.display().to_string(), report: plan.report }))
    }

    /// May be interrupted anywhere and repeated.
    fn make_moves(&self, plan: &Plan) -> Result<(), RepairError> {
        for (from, to) in &plan.moves {
            let (from, target) = (self.path.join(WORK).join(from), self.path.join(to));
            if !from.exists() {
                // It is there already.
                continue;
            }
            // What is no folder, but where one is to be.
            for folder in to.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
                let found = self.path.join(folder);
                if found.exists() && !found.is_dir() {
                    move_to(&found, &self.path.join(&plan.aside).join(folder))?;
                }
            }
            if target.exists() {
                move_to(&target, &self.path.join(&plan.aside).join(to))?;
            }
            move_to(&from, &target)?;
        }
        // Beside what it is about. Nothing was replaced where everything was missing.
        let aside = self.path.join(&plan.aside);
        if !plan.report.is_empty() && aside.is_dir() {
            let path = aside.join(REPORT);
            fs::write(&path, &plan.report).map_err(io_error(&path))?;
        }
        let path = self.path.join(PLAN);
        fs::remove_file(&path).map_err(io_error(&path))?;
        sync(&self.path)?;
        self.clean()
    }
}

fn move_to(from: &Path, to: &Path) -> Result<(), RepairError> {
    if let Some(parent) = to.parent() {
        hvs_kv::directory::create(parent).map_err(io_error(parent))?;
    }
    fs::rename(from, to).map_err(io_error(to))?;
    for folder in [from.parent(), to.parent()].into_iter().flatten() {
        sync(folder)?;
    }
    Ok(())
}

fn lock(path: &Path, data_dir: &Path) -> Result<Option<File>, RepairError> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(RepairError::InUse { path: data_dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(path)(error)),
    }
}

fn sync(folder: &Path) -> Result<(), RepairError> {
    hvs_kv::directory::sync(folder).map_err(io_error(folder))
}

fn sync_all_below(folder: &Path) -> Result<(), RepairError> {
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        let path = entry.map_err(io_error(folder))?.path();
        if path.is_dir() {
            sync_all_below(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(io_error(&path))?;
        }
    }
    sync(folder)
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = path.to_owned();
    move |source| RepairError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> tempfile::TempDir {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir_all(data.path().join("shards/a/store")).unwrap();
        fs::write(data.path().join("shards/a/store/x"), "damaged").unwrap();
        data
    }

    fn built(data: &Path) -> Folder {
        let (mut folder, _) = Folder::take(data, false).unwrap();
        let work = folder.work(Path::new("a/store")).unwrap();
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("x"), "whole").unwrap();
        folder.replace(&work, Path::new("shards/a/store"));
        folder.replace_file(Path::new("node.json"), b"new").unwrap();
        folder
    }

    fn is_repaired(data: &Path) {
        let read = |path: &str| fs::read_to_string(data.join(path)).unwrap();
        assert_eq!(read("shards/a/store/x"), "whole");
        assert_eq!(read("node.json"), "new");
        let aside = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> =
            aside.filter(|path| path.to_string_lossy().contains("damaged-")).collect();
        assert_eq!(aside.len(), 1);
        assert_eq!(fs::read_to_string(aside[0].join("shards/a/store/x")).unwrap(), "damaged");
        assert!(!data.join(PLAN).exists() && !data.join(WORK).exists());
    }

    #[test]
    fn what_was_built_takes_the_place_of_what_is_kept_aside() {
        let data = data();
        let folder = built(data.path());
        let aside = data.path().join(folder.aside().unwrap());
        folder.carry_out("what was done".to_owned()).unwrap();
        is_repaired(data.path());
        assert_eq!(fs::read_to_string(aside.join(REPORT)).unwrap(), "what was done");
    }

    #[test]
    fn a_file_where_a_folder_is_to_be_is_kept_aside_too() {
        let data = data();
        let folder = built(data.path());
        fs::remove_dir_all(data.path().join("shards/a")).unwrap();
        fs::write(data.path().join("shards/a"), "no folder").unwrap();
        let aside = data.path().join(folder.aside().unwrap());
        folder.carry_out(String::new()).unwrap();
        assert_eq!(fs::read_to_string(aside.join("shards/a")).unwrap(), "no folder");
        assert_eq!(fs::read_to_string(data.path().join("shards/a/store/x")).unwrap(), "whole");
        assert!(!is_unfinished(data.path()));
    }

    #[test]
    fn moves_are_finished_wherever_they_were_interrupted() {
        // After the plan is written, 0 to 3 renames are made.
        for renames in 0..4 {
            let data = data();
            let mut folder = built(data.path());
            folder.plan.report = "what was done".to_owned();
            let root = data.path();
            fs::write(root.join(PLAN), serde_json::to_vec(&folder.plan).unwrap()).unwrap();
            assert!(is_unfinished(root));
            let aside = root.join(&folder.plan.aside);
            drop(folder);
            let steps = [
                (root.join("shards/a/store"), aside.join("shards/a/store")),
                (root.join(WORK).join("a/store"), root.join("shards/a/store")),
                (root.join(WORK).join("node.json"), root.join("node.json")),
            ];
            for (from, to) in steps.iter().take(renames) {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::rename(from, to).unwrap();
            }
            // Who only looks changes nothing.
            let refused = Folder::take(root, true);
            assert!(matches!(refused, Err(RepairError::Unfinished { .. })) && is_unfinished(root));
            let (_, finished) = Folder::take(root, false).unwrap();
            assert_eq!(finished.unwrap().report, "what was done");
            is_repaired(root);
        }
    }

    #[test]
    fn work_that_came_to_no_plan_is_removed() {
        let data = data();
        drop(built(data.path()));
        assert!(data.path().join(WORK).exists());
        assert!(Folder::take(data.path(), false).unwrap().1.is_none());
        assert!(!data.path().join(WORK).exists());
        assert_eq!(fs::read_to_string(data.path().join("shards/a/store/x")).unwrap(), "damaged");
    }
}
