//! The index on disk: opening and checking it, and writing to it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};
use tantivy::directory::Directory;
use tantivy::indexer::IndexWriterOptions;
use tantivy::merge_policy::LogMergePolicy;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{PreTokenizedString, Token};
use tantivy::{
    Index, IndexReader, IndexSettings, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, Term,
};

use crate::config::TextConfig;
use crate::directory::{CheckedDirectory, META};
use crate::index::Mark;
use crate::memory::Pending;

/// Of the schema, and of how text becomes words.
const FORMAT: u32 = 1;
/// The file that lists the files.
const MANAGED: &str = ".managed.json";

/// A segment of which this part is removed is written anew.
const REMOVED_BEFORE_MERGE: f32 = 0.25;
/// Segments of more documents stay as they are, unless much of them is removed.
const MAX_MERGED_DOCUMENTS: usize = 2_000_000;

pub(crate) const KEY: &str = "key";

/// The fields of a document.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    key: Field,
    pub(crate) id: Field,
    pub(crate) words: Field,
}

/// What is kept with every commit.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Payload {
    format: u32,
    fields: Vec<String>,
    language: String,
    /// Older programs wrote none.
    #[serde(default)]
    owner: String,
    next_key: u64,
    records: u64,
}

impl Payload {
    fn new(config: &TextConfig, mark: Mark) -> Self {
        Self {
            format: FORMAT,
            fields: config.fields.iter().map(ToString::to_string).collect(),
            language: config.language.name().to_owned(),
            owner: config.owner.clone(),
            next_key: mark.next_key,
            records: mark.records,
        }
    }
}

/// The index on disk, of which this is the only writer.
pub(crate) struct Disk {
    reader: IndexReader,
    writer: IndexWriter,
    fields: Fields,
}

fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let key = schema.add_u64_field(KEY, INDEXED | FAST);
    let id = schema.add_text_field("id", TextOptions::from(STORED));
    // Without positions: there are no phrases.
    let indexing = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_fieldnorms(true)
        .set_index_option(IndexRecordOption::WithFreqs);
    let words =
        schema.add_text_field("words", TextOptions::default().set_indexing_options(indexing));
    (schema.build(), Fields { key, id, words })
}

fn reason(what: &str) -> impl Fn(tantivy::TantivyError) -> String {
    move |error| format!("{what}: {error}")
}

/// Removes whatever is there.
pub(crate) fn discard(path: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{} cannot be removed: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

impl Disk {
    /// Opens what is there, or creates it, and says up to where it is complete.
    ///
    /// An error says why it cannot be used; it is to be discarded then.
    pub(crate) fn open(path: &Path, config: &TextConfig) -> Result<(Self, Option<Mark>), String> {
        std::fs::create_dir_all(path)
            .map_err(|error| format!("{} cannot be created: {error}", path.display()))?;
        let directory = CheckedDirectory::open(path).map_err(reason("open"))?;
        let has = |name: &str| directory.exists(Path::new(name)).unwrap_or(true);
        let (schema, fields) = schema();
        let (index, mark) = if has(META) {
            if !has(MANAGED) {
                return Err("the list of its files is missing".to_owned());
            }
            let index = Index::open(directory.clone()).map_err(reason("open"))?;
            if index.schema() != schema {
                return Err("it has other fields".to_owned());
            }
            check_ends(path, &index)?;
            let exchanged = directory.exchanged().map_err(|error| format!("its files: {error}"))?;
            if let Some(file) = exchanged {
                return Err(format!("{} is not the file that was written", file.display()));
            }
            let mark = check(&index, config)?;
            (index, mark)
        } else {
            let index = Index::create(directory, schema, IndexSettings::default());
            (index.map_err(reason("create"))?, None)
        };
        let options = IndexWriterOptions::builder()
            .num_worker_threads(1)
            .num_merge_threads(1)
            .memory_budget_per_thread(config.writer_bytes)
            .build();
        let writer: IndexWriter =
            index.writer_with_options(options).map_err(reason("start the writer"))?;
        let mut merging = LogMergePolicy::default();
        merging.set_del_docs_ratio_before_merge(REMOVED_BEFORE_MERGE);
        merging.set_max_docs_before_merge(MAX_MERGED_DOCUMENTS);
        writer.set_merge_policy(Box::new(merging));
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        let reader: IndexReader = reader.map_err(reason("read"))?;
        Ok((Self { reader, writer, fields }, mark))
    }

    pub(crate) fn fields(&self) -> Fields {
        self.fields
    }

    pub(crate) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// The keys of all its documents.
    pub(crate) fn keys(&self) -> Result<RoaringTreemap, String> {
        let mut keys = RoaringTreemap::new();
        for segment in self.searcher().segment_readers() {
            let column = segment.fast_fields().u64(KEY).map_err(reason("keys"))?;
            for document in segment.doc_ids_alive() {
                let key = column.first(document).ok_or("a document has no key")?;
                if !keys.insert(key) {
                    return Err(format!("key {key} is there twice"));
                }
            }
        }
        Ok(keys)
    }

    pub(crate) fn add(&self, key: u64, document: &Pending) -> Result<(), String> {
        let tokens = document.words.iter().flat_map(|(word, times)| {
            // Where a word stands is not kept; the default is a place that overflows.
            let token = Token { text: word.to_string(), position: 0, ..Token::default() };
            std::iter::repeat_n(token, usize::try_from(*times).unwrap_or(usize::MAX))
        });
        let words = PreTokenizedString { text: String::new(), tokens: tokens.collect() };
        let mut row = TantivyDocument::default();
        row.add_u64(self.fields.key, key);
        row.add_text(self.fields.id, &document.id);
        row.add_pre_tokenized_text(self.fields.words, words);
        self.writer.add_document(row).map(drop).map_err(reason("add a document"))
    }

    pub(crate) fn remove(&self, key: u64) {
        self.writer.delete_term(Term::from_field_u64(self.fields.key, key));
    }

    /// Makes durable what was added and removed, and shows it to the next [`Self::searcher`].
    pub(crate) fn commit(&mut self, config: &TextConfig, mark: Mark) -> Result<(), String> {
        let payload = serde_json::to_string(&Payload::new(config, mark))
            .map_err(|error| error.to_string())?;
        let mut commit = self.writer.prepare_commit().map_err(reason("write"))?;
        commit.set_payload(&payload);
        commit.commit().map_err(reason("commit"))?;
        self.refresh()
    }

    /// Lets go of what merges have replaced.
    pub(crate) fn refresh(&self) -> Result<(), String> {
        self.reader.reload().map_err(reason("read"))
    }

    /// Removes files that nobody looks at any more.
    pub(crate) fn clean(&self) -> Result<(), String> {
        self.writer.garbage_collect_files().wait().map(drop).map_err(reason("clean"))
    }

    /// Ends when no file is touched any more.
    pub(crate) fn close(self) -> Result<(), String> {
        self.writer.wait_merging_threads().map_err(reason("merge"))
    }
}

/// Whether the files of segments are long enough for what is at their ends, of which the library is
/// sure: a footer, u32 its length, u32 that marks it. Others may be what a crash left of a segment.
fn check_ends(path: &Path, index: &Index) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let meta = index.load_metas().map_err(reason("open"))?;
    let segments: HashSet<String> =
        meta.segments.iter().map(|segment| segment.id().uuid_string()).collect();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (segment, _) = name.split_once('.').unwrap_or_default();
        if !segments.contains(segment) {
            continue;
        }
        let mut file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut end = [0; 8];
        let is_cut = length < 8 || {
            file.seek(SeekFrom::End(-8)).map_err(failed)?;
            file.read_exact(&mut end).map_err(failed)?;
            let [a, b, c, d, ..] = end;
            u64::from(u32::from_le_bytes([a, b, c, d])) + 8 > length
        };
        if is_cut {
            return Err(format!("{} is cut off", path.display()));
        }
    }
    Ok(())
}

/// Whether every file is what was written, with these settings; and up to where it is complete.
fn check(index: &Index, config: &TextConfig) -> Result<Option<Mark>, String> {
    let meta = index.load_metas().map_err(reason("open"))?;
    let Some(payload) = meta.payload else {
        return if meta.segments.is_empty() {
            Ok(None)
        } else {
            Err("it does not say what it holds".to_owned())
        };
    };
    let payload: Payload = serde_json::from_str(&payload)
        .map_err(|error| format!("what it says of itself is not understood: {error}"))?;
    let mark = Mark { next_key: payload.next_key, records: payload.records };
    let mut wanted = Payload::new(config, mark);
    if payload.owner.is_empty() {
        wanted.owner.clear();
    }
    if payload.owner != wanted.owner {
        return Err(format!("it is that of {}, not of {:?}", payload.owner, wanted.owner));
    }
    if payload != wanted {
        return Err("it was made with other settings".to_owned());
    }
    let damaged = index.validate_checksum().map_err(reason("its files"))?;
    if let Some(file) = damaged.iter().next() {
        return Err(format!("{} is damaged", file.display()));
    }
    Ok(Some(mark))
}
