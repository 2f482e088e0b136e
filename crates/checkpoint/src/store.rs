//! Where checkpoints are: a folder, or a bucket of an object store.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion, local::LocalFileSystem,
    path::Path,
};
use url::Url;

use crate::{
    folder::{self, Swapped},
    hash::Hash,
    manifest::{Checkpoint, DamagedManifest, Manifest, ObjectRef},
    object::DamagedObject,
};

const MANIFEST: &str = "manifest";
const OBJECTS: &str = "objects";
/// How old an object that no manifest names must be before it counts as left behind: a checkpoint
/// that is being made names its objects last.
pub const ORPHAN_AGE: Duration = Duration::from_hours(24);
/// Objects looked at by one search for those that are left behind.
const ORPHANS_AT_ONCE: usize = 10_000;
/// How often something is written that a bucket has neither taken nor refused for good, each time
/// with all the tries of the client.
const TRIES: u32 = 4;
/// Between the first two of them; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why checkpoints cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL leads nowhere.
    #[error("the URL {url:?} cannot be used: {reason}")]
    Url {
        /// The URL, without what may be a secret.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The object store, or the file system, refused or failed.
    #[error("cannot {what} {name}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which object.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object that the manifest names is not there.
    #[error("the object {name} is missing")]
    Missing {
        /// Which.
        name: String,
    },
    /// An object has another size than the manifest says.
    #[error("the object {name} is damaged: it has {found} bytes instead of {expected}")]
    Size {
        /// Which.
        name: String,
        /// Its size.
        found: u64,
        /// As the manifest says.
        expected: u64,
    },
    /// An object has another hash than the manifest says.
    #[error("the object {name} is damaged: its hash is {found} instead of {expected}")]
    Hash {
        /// Which.
        name: String,
        /// Of its bytes.
        found: Hash,
        /// As the manifest says.
        expected: Hash,
    },
    /// An object has the right hash and does not decode: whoever wrote it was wrong.
    #[error("the object {name} is damaged: {source}")]
    Object {
        /// Which.
        name: String,
        /// What is wrong.
        source: DamagedObject,
    },
    /// The manifest is damaged.
    #[error("the object {name} is damaged: {source}")]
    Manifest {
        /// Which.
        name: String,
        /// What is wrong.
        source: DamagedManifest,
    },
}

/// Why a manifest was not swapped in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// Another one is there than the one that was read, and the swap was not made.
    #[error("the manifest was replaced by someone else in the meantime")]
    Conflict,
    /// The store failed. Whether the manifest was replaced is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why it is not known whether a manifest was replaced.
#[derive(Debug, thiserror::Error)]
enum Undecided {
    /// Perhaps by this swap, whose reply was lost.
    #[error("it was replaced by this swap or by someone else, and cannot be read: {0}")]
    Unread(StoreError),
    /// S3 says so of conditional writes that come while there is another one.
    #[error("nobody has replaced it, and yet the place refuses to, {TRIES} times")]
    Busy,
}

/// Tells one content of the manifest from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    content: UpdateVersion,
    /// The id that the next checkpoint gets.
    next_id: u64,
}

/// A manifest, and which version of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The manifest.
    pub manifest: Manifest,
    /// For the swap.
    pub version: Version,
}

/// The checkpoints of one namespace, or the place of several. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    objects: Arc<dyn ObjectStore>,
    root: Path,
    url: String,
    /// The folder that the root is, where it is one.
    folder: Option<PathBuf>,
}

impl CheckpointStore {
    /// Whether a URL leads anywhere, without looking for what is there.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        parse(url).map(drop)
    }

    /// The place that a URL names: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix`, or an absolute path of a folder. `options` are the credentials
    /// and settings of the object store by the names of their environment variables, such as
    /// `AWS_ACCESS_KEY_ID`; unknown ones are ignored.
    ///
    /// Nothing is read or written yet, and a folder need not exist.
    pub fn open<I>(url: &str, options: I) -> Result<Self, StoreError>
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let parsed = parse(url)?;
        let refuse = |reason: String| StoreError::Url { url: without_secrets(url), reason };
        let text = without_secrets(parsed.as_str().trim_end_matches('/'));
        if parsed.scheme() == "file" {
            let folder = parsed.to_file_path();
            let folder = folder.map_err(|()| refuse("it has a host".to_owned()))?;
            return Self::in_folder(folder, text).map_err(|error| refuse(error.to_string()));
        }
        let options: Vec<(String, String)> = options.into_iter().collect();
        let opened = object_store::parse_url_opts(&parsed, options.iter().cloned());
        let (objects, root) =
            opened.map_err(|error| refuse(without_settings(error.to_string(), &options)))?;
        Ok(Self { objects: Arc::from(objects), root, url: text, folder: None })
    }

    fn in_folder(folder: PathBuf, url: String) -> Result<Self, object_store::path::Error> {
        let root = Path::from_absolute_path(&folder)?;
        let objects = Arc::new(LocalFileSystem::new());
        Ok(Self { objects, root, url, folder: Some(folder) })
    }

    /// A prefix of an object store that compares and swaps by itself.
    pub fn over(objects: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { objects, root: Path::from(prefix), url: format!("memory:///{prefix}"), folder: None }
    }

    /// A place below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self {
            objects: Arc::clone(&self.objects),
            root: self.root.clone().join(name),
            url: format!("{}/{name}", self.url),
            folder: self.folder.as_ref().map(|folder| folder.join(name)),
        }
    }

    /// The URL, without what may be a secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Names of the places directly below this one.
    pub async fn children(&self) -> Result<Vec<String>, StoreError> {
        let listed = self.objects.list_with_delimiter(Some(&self.root)).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("list", "", error)),
        };
        let names = listed.common_prefixes.iter().filter_map(Path::filename);
        Ok(names.map(str::to_owned).collect())
    }

    /// Writes an object that is not there yet. Where the outcome is open, what is there decides.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StoreError> {
        let mut tries = Tries::default();
        loop {
            let error = match self.put_once(name, bytes.clone()).await {
                Ok(()) => return Ok(()),
                Err((true, error)) => error,
                Err((false, error)) => return Err(error),
            };
            match self.read(name).await {
                // Names are random, so that this can only be an earlier try whose reply was lost.
                Ok(Some((found, _))) if found == bytes => return Ok(()),
                // It was lost on its way, or another try of it was under way, as S3 has it.
                Ok(None) if tries.again().await => {}
                _ => return Err(error),
            }
        }
    }

    /// An error comes with whether the object may be there all the same.
    async fn put_once(&self, name: &str, bytes: Bytes) -> Result<(), (bool, StoreError)> {
        if let Some(folder) = &self.folder {
            let path = name.split('/').fold(folder.clone(), |path, part| path.join(part));
            let put = tokio::task::spawn_blocking(move || folder::create(&path, &bytes)).await;
            let put = put.map_err(|error| (false, self.failed("write", name, error)))?;
            return put.map_err(|error| {
                let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
                (is_there, self.failed("write", name, error))
            });
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.objects.put_opts(&self.path(name), bytes.into(), options).await;
        put.map(drop).map_err(|error| {
            let is_open = matches!(
                error,
                object_store::Error::AlreadyExists { .. } | object_store::Error::Generic { .. }
            );
            (is_open, self.failed("write", name, error))
        })
    }

    /// The bytes of an object, which have the size and hash that the manifest says.
    pub async fn get(&self, object: &ObjectRef) -> Result<Bytes, StoreError> {
        let name = &object.name;
        let Some((bytes, _)) = self.read(name).await? else {
            return Err(StoreError::Missing { name: self.name(name) });
        };
        let found = bytes.len() as u64;
        if found != object.bytes {
            return Err(StoreError::Size { name: self.name(name), found, expected: object.bytes });
        }
        let found = Hash::of(&bytes);
        if found != object.hash {
            return Err(StoreError::Hash { name: self.name(name), found, expected: object.hash });
        }
        Ok(bytes)
    }

    /// The manifest, if there is one.
    pub async fn manifest(&self) -> Result<Option<Loaded>, StoreError> {
        let Some((bytes, content)) = self.read(MANIFEST).await? else { return Ok(None) };
        let manifest = Manifest::decode(&bytes)
            .map_err(|source| StoreError::Manifest { name: self.name(MANIFEST), source })?;
        let version = Version { content, next_id: manifest.next_id };
        Ok(Some(Loaded { manifest, version }))
    }

    /// Replaces the manifest that was read before, or makes the first one.
    ///
    /// A client repeats a request whose reply is lost, and is refused then, because it has made the
    /// swap itself. So what is there after an error decides: this manifest, or a later one that names
    /// objects which only this one has added, is a success. After a conflict no manifest names them.
    /// (Of a deletion over which others have swapped already it is not known who made it; it counts
    /// as a conflict.)
    pub async fn swap(
        &self,
        expected: Option<&Version>,
        manifest: &Manifest,
    ) -> Result<(), SwapError> {
        let next_id = expected.map_or(1, |version| version.next_id);
        let mut tries = Tries::default();
        loop {
            let Err(error) = self.swap_once(expected, manifest).await else { return Ok(()) };
            let found = match self.manifest().await {
                Ok(found) => found,
                Err(unread) => return Err(self.undecided(error, Undecided::Unread(unread))),
            };
            if found.as_ref().is_some_and(|found| is_made(&found.manifest, manifest, next_id)) {
                return Ok(());
            }
            // From now on the swap cannot be made any more, even if it is still on its way.
            if found.as_ref().map(|found| &found.version) != expected {
                return Err(SwapError::Conflict);
            }
            // An earlier try that is still on its way does no harm: one of them can be made.
            if self.folder.is_some() || !tries.again().await {
                return Err(self.undecided(error, Undecided::Busy));
            }
        }
    }

    /// Nobody may take an open outcome for a lost race, after which what was written is removed.
    fn undecided(&self, error: SwapError, why: Undecided) -> SwapError {
        match error {
            SwapError::Conflict => self.failed("replace", MANIFEST, why).into(),
            SwapError::Store(_) => error,
        }
    }

    async fn swap_once(
        &self,
        expected: Option<&Version>,
        manifest: &Manifest,
    ) -> Result<(), SwapError> {
        let bytes = Bytes::from(manifest.encode());
        if let Some(folder) = &self.folder {
            let path = folder.join(MANIFEST);
            let expected = expected.and_then(|version| version.content.e_tag.clone());
            let swap = move || {
                let parse = |text: String| blake3::Hash::from_hex(text).ok();
                let expected = expected.and_then(parse).map(|hash| Hash(*hash.as_bytes()));
                folder::swap(&path, expected, &bytes)
            };
            let swapped = tokio::task::spawn_blocking(swap).await;
            return match swapped.map_err(|error| self.failed("replace", MANIFEST, error))? {
                Ok(Swapped::Done) => Ok(()),
                Ok(Swapped::Different) => Err(SwapError::Conflict),
                Err(error) => Err(self.failed("replace", MANIFEST, error).into()),
            };
        }
        let mode = match expected {
            None => PutMode::Create,
            Some(version) => PutMode::Update(version.content.clone()),
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.objects.put_opts(&self.path(MANIFEST), bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(error) if is_without_bucket(&error) => {
                Err(self.failed("replace", MANIFEST, error).into())
            }
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotFound { .. },
            ) => Err(SwapError::Conflict),
            Err(error) => Err(self.failed("replace", MANIFEST, error).into()),
        }
    }

    /// Removes objects; one that is gone already is no failure.
    pub async fn remove(&self, names: &[String]) -> Result<(), StoreError> {
        for name in names {
            let mut tries = Tries::default();
            loop {
                match self.objects.delete(&self.path(name)).await {
                    Ok(()) => break,
                    Err(error) if is_missing(&error) => break,
                    // Clients do not repeat it when its reply is lost.
                    Err(object_store::Error::Generic { .. })
                        if self.folder.is_none() && tries.again().await => {}
                    Err(error) => return Err(self.failed("remove", name, error)),
                }
            }
        }
        Ok(())
    }

    /// Names of objects older than `age` that the manifest does not name: what attempts that did
    /// not end have left behind.
    pub async fn orphans(
        &self,
        manifest: &Manifest,
        age: Duration,
    ) -> Result<Vec<String>, StoreError> {
        let now = SystemTime::now();
        let named = manifest.object_names();
        let prefix = self.root.clone().join(OBJECTS);
        let listed = self.objects.list(Some(&prefix)).take(ORPHANS_AT_ONCE);
        let listed: Vec<_> =
            listed.try_collect().await.map_err(|error| self.failed("list", OBJECTS, error))?;
        let mut orphans = Vec::new();
        for meta in listed {
            let Some(parts) = meta.location.prefix_match(&self.root) else { continue };
            let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
            let name = parts.join("/");
            let modified = SystemTime::from(meta.last_modified);
            let is_old = now.duration_since(modified).is_ok_and(|since| since >= age);
            if is_old && !named.contains(name.as_str()) {
                orphans.push(name);
            }
        }
        Ok(orphans)
    }

    async fn read(&self, name: &str) -> Result<Option<(Bytes, UpdateVersion)>, StoreError> {
        let got = match self.objects.get(&self.path(name)).await {
            Ok(got) => got,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(self.failed("read", name, error)),
        };
        let (e_tag, version) = (got.meta.e_tag.clone(), got.meta.version.clone());
        let bytes = got.bytes().await.map_err(|error| self.failed("read", name, error))?;
        let version = if self.folder.is_some() {
            UpdateVersion { e_tag: Some(Hash::of(&bytes).to_string()), version: None }
        } else {
            UpdateVersion { e_tag, version }
        };
        Ok(Some((bytes, version)))
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.root.clone(), Path::join)
    }

    /// As people are told it.
    fn name(&self, name: &str) -> String {
        if name.is_empty() { self.url.clone() } else { format!("{}/{name}", self.url) }
    }

    fn failed(
        &self,
        what: &'static str,
        name: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> StoreError {
        StoreError::Io { what, name: self.name(name), source: Box::new(source) }
    }
}

/// Counts how often something has been written again.
#[derive(Default)]
struct Tries(u32);

impl Tries {
    /// Whether it may be written again, after a pause that gives others time to come to their end.
    async fn again(&mut self) -> bool {
        if self.0 + 1 >= TRIES {
            return false;
        }
        tokio::time::sleep(FIRST_PAUSE * (1 << self.0)).await;
        self.0 += 1;
        true
    }
}

/// Whether a swap was made, by the manifest that is there now: this very one, or one that others made
/// of it, with objects that came with the checkpoint which it added. No other attempt has their names.
fn is_made(found: &Manifest, swapped: &Manifest, next_id: u64) -> bool {
    if found.attempt == swapped.attempt {
        return true;
    }
    let is_added = |checkpoint: &&Checkpoint| checkpoint.id == next_id;
    let (added, earlier): (Vec<_>, Vec<_>) = swapped.checkpoints.iter().partition(is_added);
    let names = |checkpoints: Vec<&'_ Checkpoint>| -> HashSet<String> {
        let objects = checkpoints.into_iter().flat_map(Checkpoint::objects);
        objects.map(|object| object.name.clone()).collect()
    };
    let (added, earlier, found) = (names(added), names(earlier), found.object_names());
    added.iter().any(|name| !earlier.contains(name) && found.contains(name.as_str()))
}

/// Whether an object is not there, in a bucket that is.
fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && !is_without_bucket(error)
}

/// Whether the bucket itself is not there, which all stores say with the status of a missing object.
/// No name or URL has such brackets.
fn is_without_bucket(error: &object_store::Error) -> bool {
    let said = error.to_string();
    ["NoSuchBucket", "ContainerNotFound"]
        .iter()
        .any(|code| said.contains(&format!("<Code>{code}</Code>")))
}

/// The kinds of object stores that compare and swap by themselves.
const BUCKETS: [&str; 8] = ["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"];

fn parse(url: &str) -> Result<Url, StoreError> {
    let refuse = |reason: String| StoreError::Url { url: without_secrets(url), reason };
    let parsed = if url.starts_with('/') {
        Url::from_directory_path(url).map_err(|()| refuse("it is no path".to_owned()))?
    } else {
        Url::parse(url).map_err(|error| refuse(error.to_string()))?
    };
    match (parsed.scheme(), parsed.host_str().unwrap_or_default()) {
        ("file", "") => Ok(parsed),
        ("file", _) => Err(refuse("a folder has no host: write file:///folder".to_owned())),
        (scheme, "") if BUCKETS.contains(&scheme) => Err(refuse("it has no bucket".to_owned())),
        (scheme, _) if BUCKETS.contains(&scheme) => Ok(parsed),
        _ => Err(refuse("it begins with none of /, file://, s3://, gs:// and az://".to_owned())),
    }
}

/// A URL without user, password and query, in which people put keys.
fn without_secrets(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.chars().take(200).collect() };
    let cleaned = parsed.set_password(None).is_ok() && parsed.set_username("").is_ok();
    parsed.set_query(None);
    parsed.set_fragment(None);
    if cleaned || parsed.password().is_none() { parsed.into() } else { String::new() }
}

/// An error without the values of settings that may be secrets, some of which it quotes.
fn without_settings(error: String, options: &[(String, String)]) -> String {
    let is_secret = |name: &str| {
        let name = name.to_ascii_uppercase();
        ["KEY", "SECRET", "TOKEN", "SAS", "PASSWORD"].iter().any(|part| name.contains(part))
    };
    let secrets = options.iter().filter(|(name, value)| is_secret(name) && !value.is_empty());
    secrets.fold(error, |error, (name, value)| error.replace(value, name))
}
