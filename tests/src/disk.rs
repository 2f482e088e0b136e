//! A disk that loses power: what of a folder has survived, told from the events of the shim.
//!
//! # The model
//! - A file has the content that it had at its last `fsync` or `fdatasync` that returned without an
//!   error; none, if there was none.
//! - A folder has the names that it had at its last `fsync`: what was created, renamed or removed
//!   since then has not happened.
//! - Everything that was there at the start is durable.
//!
//! This is the least that a file system promises. A real disk may have kept more, and in any mixture;
//! what is acknowledged must not need that.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};

const PAGE: usize = 4096;
const PAGE_BYTES: u64 = 4096;
const HEADER: usize = 40;

/// What an event is about, as `shim.c` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of the path in the payload came to be.
    Create,
    /// A file has the length in the offset.
    Length,
    /// The payload was written at the offset.
    Write,
    /// A folder came to be.
    MakeFolder,
    /// The payload is the old path, a zero byte, the new path.
    Rename,
    /// A file is gone.
    Unlink,
    /// A folder is gone.
    RemoveFolder,
    /// An `fsync` (offset 0) or `fdatasync` (1) begins.
    SyncBegin,
    /// It has returned, with the result.
    SyncEnd,
    /// The payload is about to be sent to a client.
    Send,
    /// Something that the model does not know.
    Unknown,
}

/// One thing that a process did.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// By which thread.
    pub thread: u32,
    /// 0, or a negative error number.
    pub result: i32,
    /// Of a clock that only goes forward.
    pub nanoseconds: u64,
    /// Of the file or folder.
    pub inode: u64,
    /// See the kinds.
    pub offset: u64,
    /// See the kinds.
    pub payload: Vec<u8>,
}

/// The events in a log. A last one that is not complete was being written when the process was
/// killed, and is left out.
///
/// # Errors
/// The log cannot be read, or is none.
pub fn read_events(log: &Path) -> Result<Vec<Event>> {
    let bytes = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut events = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
        let number = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            u32::from_le_bytes(bytes.copied().unwrap_or_default())
        };
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        let size = usize::try_from(number(0))?;
        ensure!(size >= HEADER, "an event of {size} bytes");
        let Some((event, after)) = rest.split_at_checked(size) else { break };
        events.push(Event {
            kind: kind(number(4))?,
            thread: number(8),
            result: i32::from_le_bytes(number(12).to_le_bytes()),
            nanoseconds: long(16),
            inode: long(24),
            offset: long(32),
            payload: event.get(HEADER..).unwrap_or_default().to_vec(),
        });
        rest = after;
    }
    Ok(events)
}

fn kind(number: u32) -> Result<Kind> {
    Ok(match number {
        1 => Kind::Create,
        2 => Kind::Length,
        3 => Kind::Write,
        4 => Kind::MakeFolder,
        5 => Kind::Rename,
        6 => Kind::Unlink,
        7 => Kind::RemoveFolder,
        8 => Kind::SyncBegin,
        9 => Kind::SyncEnd,
        10 => Kind::Send,
        11 => Kind::Unknown,
        other => bail!("an event of kind {other}"),
    })
}

/// Pages that are not there are zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    length: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    fn write(&mut self, mut offset: u64, mut data: &[u8], dirty: &mut BTreeSet<u64>) {
        self.length = self.length.max(offset + data.len() as u64);
        while !data.is_empty() {
            let (page, at) = place_of(offset);
            let (part, rest) = data.split_at(data.len().min(PAGE - at));
            let bytes = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            if let Some(place) = Arc::make_mut(bytes).get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            dirty.insert(page);
            offset += part.len() as u64;
            data = rest;
        }
    }

    fn set_length(&mut self, length: u64, dirty: &mut BTreeSet<u64>) {
        if length < self.length {
            dirty.extend(self.pages.split_off(&length.div_ceil(PAGE_BYTES)).into_keys());
            let (last, at) = place_of(length);
            if let Some(page) = self.pages.get_mut(&last) {
                Arc::make_mut(page).get_mut(at..).unwrap_or_default().fill(0);
                dirty.insert(last);
            }
        }
        self.length = length;
    }

    fn read(path: &Path) -> Result<Self> {
        let mut content = Self::default();
        let mut file = File::open(path)?;
        let (mut dirty, mut buffer) = (BTreeSet::new(), vec![0; 1 << 20]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(content);
            }
            for part in buffer.get(..read).unwrap_or_default().chunks(PAGE) {
                if part.iter().any(|byte| *byte != 0) {
                    content.write(content.length, part, &mut dirty);
                } else {
                    content.length += part.len() as u64;
                }
            }
        }
    }

    fn save(&self, path: &Path) -> Result<()> {
        let file = File::create(path)?;
        for (page, bytes) in &self.pages {
            file.write_all_at(bytes.as_slice(), page * PAGE_BYTES)?;
        }
        file.set_len(self.length)?;
        Ok(())
    }

    /// Whether both read the same, zeros that are not stored included.
    fn reads_as(&self, other: &Self) -> bool {
        let zeros = Arc::new([0; PAGE]);
        let page = |content: &Self, number| content.pages.get(&number).unwrap_or(&zeros).clone();
        let mut numbers = self.pages.keys().chain(other.pages.keys());
        self.length == other.length
            && numbers.all(|number| page(self, *number) == page(other, *number))
    }
}

/// The page of an offset, and where in it.
fn place_of(offset: u64) -> (u64, usize) {
    (offset / PAGE_BYTES, usize::try_from(offset % PAGE_BYTES).unwrap_or(0))
}

#[derive(Debug)]
enum Object {
    File { now: Content, durable: Content, dirty: BTreeSet<u64> },
    Folder { now: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
}

/// A folder and what becomes of it.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    /// The first is the folder itself.
    objects: Vec<Object>,
    by_inode: HashMap<u64, usize>,
}

impl Disk {
    /// A folder with everything in it durable.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(root: &Path) -> Result<Self> {
        let mut disk =
            Self { root: root.to_owned(), objects: Vec::new(), by_inode: HashMap::new() };
        disk.add(root)?;
        Ok(disk)
    }

    fn add(&mut self, path: &Path) -> Result<usize> {
        let number = self.objects.len();
        let metadata = fs::symlink_metadata(path)?;
        self.by_inode.insert(metadata.ino(), number);
        self.objects.push(empty_folder());
        let object = if metadata.is_dir() {
            let mut entries = BTreeMap::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                entries.insert(name, self.add(&entry.path())?);
            }
            Object::Folder { now: entries.clone(), durable: entries }
        } else {
            let content = Content::read(path)?;
            Object::File { now: content.clone(), durable: content, dirty: BTreeSet::new() }
        };
        if let Some(place) = self.objects.get_mut(number) {
            *place = object;
        }
        Ok(number)
    }

    /// Lets happen what a process did, in its order.
    ///
    /// # Errors
    /// It did something that the model does not know.
    pub fn replay(&mut self, events: &[Event]) -> Result<()> {
        let returned = returned(events);
        for (number, event) in events.iter().enumerate() {
            self.happen(event, returned.contains(&number))
                .with_context(|| format!("event {number}, {:?}", event.kind))?;
        }
        Ok(())
    }

    fn happen(&mut self, event: &Event, returned: bool) -> Result<()> {
        let path = || String::from_utf8_lossy(&event.payload).into_owned();
        match event.kind {
            Kind::Create | Kind::MakeFolder => {
                let (folder, name) = self.place(&path())?;
                let number = self.objects.len();
                self.objects.push(if event.kind == Kind::Create {
                    Object::File {
                        now: Content::default(),
                        durable: Content::default(),
                        dirty: BTreeSet::new(),
                    }
                } else {
                    empty_folder()
                });
                self.by_inode.insert(event.inode, number);
                self.entries(folder)?.insert(name, number);
            }
            Kind::Write | Kind::Length => {
                // Of a file that is gone from every folder, or elsewhere.
                let number = self.by_inode.get(&event.inode).copied();
                let Some(Object::File { now, dirty, .. }) =
                    number.and_then(|number| self.objects.get_mut(number))
                else {
                    bail!("inode {} is not a file", event.inode);
                };
                if event.kind == Kind::Write {
                    now.write(event.offset, &event.payload, dirty);
                } else {
                    now.set_length(event.offset, dirty);
                }
            }
            Kind::Rename => {
                let both = path();
                let (old, new) = both.split_once('\0').context("one path")?;
                let ((from, old), (to, new)) = (self.place(old)?, self.place(new)?);
                let moved = self.entries(from)?.remove(&old).context("nothing to rename")?;
                self.entries(to)?.insert(new, moved);
            }
            Kind::Unlink | Kind::RemoveFolder => {
                let (folder, name) = self.place(&path())?;
                self.entries(folder)?.remove(&name).context("nothing to remove")?;
            }
            Kind::SyncBegin if returned => {
                let number = self.by_inode.get(&event.inode).context("a sync of nothing")?;
                match self.objects.get_mut(*number).context("a sync of nothing")? {
                    Object::Folder { now, durable } => durable.clone_from(now),
                    Object::File { now, durable, dirty } => {
                        durable.length = now.length;
                        for page in std::mem::take(dirty) {
                            match now.pages.get(&page) {
                                Some(bytes) => durable.pages.insert(page, Arc::clone(bytes)),
                                None => durable.pages.remove(&page),
                            };
                        }
                    }
                }
            }
            Kind::SyncBegin | Kind::SyncEnd | Kind::Send => {}
            Kind::Unknown => bail!("{} is not modelled", path()),
        }
        Ok(())
    }

    /// The folder that a path is in, and its name there.
    fn place(&mut self, path: &str) -> Result<(usize, String)> {
        let inside = Path::new(path).strip_prefix(&self.root).context("outside of the folder")?;
        let mut names: Vec<String> =
            inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let last = names.pop().context("the folder itself")?;
        let mut folder = 0;
        for name in names {
            folder = *self.entries(folder)?.get(&name).with_context(|| format!("no {name}"))?;
        }
        Ok((folder, last))
    }

    fn entries(&mut self, folder: usize) -> Result<&mut BTreeMap<String, usize>> {
        match self.objects.get_mut(folder) {
            Some(Object::Folder { now, .. }) => Ok(now),
            _ => bail!("not a folder"),
        }
    }

    /// Writes what has survived into a folder, which must not exist.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save_survived(&self, target: &Path) -> Result<()> {
        self.save(0, target)
    }

    fn save(&self, number: usize, path: &Path) -> Result<()> {
        match self.objects.get(number) {
            Some(Object::File { durable, .. }) => durable.save(path),
            Some(Object::Folder { durable, .. }) => {
                fs::create_dir(path)?;
                durable.iter().try_for_each(|(name, number)| self.save(*number, &path.join(name)))
            }
            None => bail!("no such object"),
        }
    }

    /// The paths at which the folder as it is now differs from what the events say: empty, unless
    /// the shim has missed something.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn differences(&self) -> Result<Vec<String>> {
        let real = Self::of(&self.root)?;
        let mut found = Vec::new();
        self.compare(0, &real, 0, "", &mut found);
        Ok(found)
    }

    fn compare(&self, number: usize, real: &Self, other: usize, at: &str, found: &mut Vec<String>) {
        match (self.objects.get(number), real.objects.get(other)) {
            (Some(Object::File { now, .. }), Some(Object::File { now: real, .. })) => {
                if !now.reads_as(real) {
                    found.push(format!("{at}: {} and {} bytes", now.length, real.length));
                }
            }
            (Some(Object::Folder { now, .. }), Some(Object::Folder { now: there, .. })) => {
                let names: BTreeSet<&String> = now.keys().chain(there.keys()).collect();
                for name in names {
                    let at = format!("{at}/{name}");
                    match (now.get(name), there.get(name)) {
                        (Some(number), Some(other)) => {
                            self.compare(*number, real, *other, &at, found);
                        }
                        (Some(_), None) => found.push(format!("{at}: is not there")),
                        _ => found.push(format!("{at}: is not known")),
                    }
                }
            }
            _ => found.push(format!("{at}: of another kind")),
        }
    }
}

fn empty_folder() -> Object {
    Object::Folder { now: BTreeMap::new(), durable: BTreeMap::new() }
}

/// The positions of the syncs' beginnings that returned without an error.
fn returned(events: &[Event]) -> BTreeSet<usize> {
    let mut running = HashMap::new();
    let mut returned = BTreeSet::new();
    for (number, event) in events.iter().enumerate() {
        match event.kind {
            Kind::SyncBegin => drop(running.insert(event.thread, number)),
            Kind::SyncEnd => {
                if let Some(began) = running.remove(&event.thread)
                    && event.result == 0
                {
                    returned.insert(began);
                }
            }
            _ => {}
        }
    }
    returned
}

/// Writes a file of the shim's own.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    File::create(path)?.write_all(bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Story(Vec<Event>);

    impl Story {
        fn tell(&mut self, kind: Kind, inode: u64, offset: u64, payload: &[u8]) -> &mut Self {
            let payload = payload.to_vec();
            let event =
                Event { kind, thread: 1, result: 0, nanoseconds: 0, inode, offset, payload };
            self.0.push(event);
            self
        }

        fn sync(&mut self, inode: u64, result: i32) -> &mut Self {
            self.tell(Kind::SyncBegin, inode, 0, b"").tell(Kind::SyncEnd, inode, 0, b"");
            self.0.last_mut().unwrap().result = result;
            self
        }

        /// What survives of it in an empty folder, by path.
        fn survived(&self, root: &Path) -> BTreeMap<String, Vec<u8>> {
            let mut disk = Disk::of(root).unwrap();
            disk.replay(&self.0).unwrap();
            let target = tempfile::tempdir().unwrap();
            let image = target.path().join("image");
            disk.save_survived(&image).unwrap();
            let mut found = BTreeMap::new();
            collect(&image, &image, &mut found);
            found
        }
    }

    fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            if path.is_dir() {
                found.insert(format!("{name}/"), Vec::new());
                collect(root, &path, found);
            } else {
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }

    #[test]
    fn files_and_names_survive_each_by_its_own_sync() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let root_inode = fs::metadata(&root).unwrap().ino();
        let path = |name: &str| root.join(name).display().to_string().into_bytes();
        let mut story = Story(Vec::new());
        story.tell(Kind::Create, 1, 0, &path("a")).tell(Kind::Write, 1, 0, b"hello");
        assert_eq!(story.survived(&root), BTreeMap::new(), "the name is not durable");
        story.sync(1, 0);
        assert_eq!(story.survived(&root), BTreeMap::new(), "still not");
        story.sync(root_inode, 0).tell(Kind::Write, 1, 4, b"p me");
        let expected = BTreeMap::from([("a".to_owned(), b"hello".to_vec())]);
        assert_eq!(story.survived(&root), expected);
        story.sync(1, -5);
        assert_eq!(story.survived(&root), expected, "a sync that fails keeps nothing");
        story.tell(Kind::SyncBegin, 1, 0, b"");
        assert_eq!(story.survived(&root), expected, "nor one that has not returned");
        story.tell(Kind::SyncEnd, 1, 0, b"");
        let expected = BTreeMap::from([("a".to_owned(), b"hellp me".to_vec())]);
        assert_eq!(story.survived(&root), expected);

        let mut both = path("a");
        both.push(0);
        both.extend(path("sub/b"));
        story.tell(Kind::MakeFolder, 2, 0, &path("sub")).tell(Kind::Rename, 0, 0, &both);
        assert_eq!(story.survived(&root), expected, "nothing of a rename");
        story.sync(2, 0);
        assert_eq!(story.survived(&root), expected, "the new folder has no name");
        story.sync(root_inode, 0);
        let moved = BTreeMap::from([
            ("sub/".to_owned(), Vec::new()),
            ("sub/b".to_owned(), b"hellp me".to_vec()),
        ]);
        assert_eq!(story.survived(&root), moved);
        story.tell(Kind::Length, 1, 2, b"").tell(Kind::Length, 1, 9_000, b"").sync(1, 0);
        let mut grown = b"he".to_vec();
        grown.resize(9_000, 0);
        assert_eq!(story.survived(&root)["sub/b"], grown);
        story.tell(Kind::Unlink, 0, 0, &path("sub/b"));
        assert_eq!(story.survived(&root)["sub/b"], grown, "a removal is not durable either");
        story.sync(2, 0);
        assert_eq!(story.survived(&root).keys().collect::<Vec<_>>(), ["sub/"]);
    }

    #[test]
    fn what_is_not_modelled_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut story = Story(Vec::new());
        story.tell(Kind::Unknown, 0, 0, b"splice");
        let error = Disk::of(folder.path()).unwrap().replay(&story.0).unwrap_err();
        assert!(format!("{error:#}").contains("splice is not modelled"), "{error:#}");
    }
}
