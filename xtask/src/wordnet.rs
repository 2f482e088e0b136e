//! WordNet's noun hierarchy: parsing the database files, and the committed extract.
//!
//! The format is described by the manual page `wndb(5WN)` that comes with WordNet. A concept (a
//! synset) is named as is usual: first word, part of speech, number of the sense, for example
//! `dog.n.01`.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};

/// One noun concept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concept {
    /// `first_word.n.sense`, unique.
    pub id: String,
    /// All words of the concept, spaces instead of underscores, first word first.
    pub words: Vec<String>,
    /// Definition and examples.
    pub gloss: String,
    /// What it is about, in WordNet's own coarse division: `animal`, `food`, `person`, ...
    pub topic: String,
    /// Positions in [`Nouns::concepts`] of the more general concepts.
    pub parents: Vec<usize>,
}

/// The names of the lexicographers' files with nouns, from number [`FIRST_TOPIC`] on.
const TOPICS: [&str; 26] = [
    "top",
    "act",
    "animal",
    "artifact",
    "attribute",
    "body",
    "cognition",
    "communication",
    "event",
    "feeling",
    "food",
    "group",
    "location",
    "motive",
    "object",
    "person",
    "phenomenon",
    "plant",
    "possession",
    "process",
    "quantity",
    "relation",
    "shape",
    "state",
    "substance",
    "time",
];
const FIRST_TOPIC: usize = 3;

/// The hierarchy of noun concepts: a directed acyclic graph from each concept to its parents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nouns {
    /// In the order of the file that they were read from.
    pub concepts: Vec<Concept>,
}

/// Sizes by which one release of WordNet is told from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Number of concepts.
    pub concepts: usize,
    /// Number of edges from a concept to a parent.
    pub edges: usize,
    /// Number of (concept, ancestor) pairs, the concept itself not counted as its ancestor.
    pub closure: usize,
    /// Concepts without a parent.
    pub roots: usize,
    /// Concepts with more than one parent.
    pub multi_parent: usize,
    /// Most edges on the shortest way up from a concept to a root.
    pub depth: usize,
}

impl Nouns {
    /// Reads `data.noun` and `index.noun` in `folder`.
    ///
    /// # Errors
    /// A file is missing, or is not in WordNet's format; the message says which line.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = folder.join(name);
            let bytes = std::fs::read(&file)
                .with_context(|| format!("cannot read WordNet's {}", file.display()))?;
            Ok::<_, anyhow::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        Self::parse(&read("data.noun")?, &read("index.noun")?)
    }

    /// Parses the text of `data.noun` and `index.noun`.
    ///
    /// # Errors
    /// A line is not in WordNet's format, or an edge leads to no concept.
    pub fn parse(data: &str, index: &str) -> Result<Self> {
        let senses = parse_index(index)?;
        let mut raw = Vec::new();
        for (number, line) in data.lines().enumerate().filter(|(_, line)| !line.starts_with(' ')) {
            let synset = parse_synset(line)
                .with_context(|| format!("data.noun, line {}: not a synset", number + 1))?;
            raw.push(synset);
        }
        let position: HashMap<u32, usize> =
            raw.iter().enumerate().map(|(at, synset)| (synset.offset, at)).collect();
        let mut concepts = Vec::with_capacity(raw.len());
        for synset in raw {
            let lemma = synset.words.first().map(|word| word.to_lowercase()).unwrap_or_default();
            let sense = senses.get(&(lemma.as_str(), synset.offset)).with_context(|| {
                format!("index.noun does not list {lemma:?} at {:08}", synset.offset)
            })?;
            let mut parents = Vec::with_capacity(synset.parents.len());
            for offset in synset.parents {
                let parent = position.get(&offset).with_context(|| {
                    format!("{lemma:?}: its parent at {offset:08} is not in data.noun")
                })?;
                parents.push(*parent);
            }
            concepts.push(Concept {
                id: format!("{lemma}.n.{sense:02}"),
                words: synset.words.iter().map(|word| word.replace('_', " ")).collect(),
                gloss: synset.gloss,
                topic: synset.topic.to_owned(),
                parents,
            });
        }
        ensure!(!concepts.is_empty(), "data.noun holds no concept");
        Ok(Self { concepts })
    }

    /// The position of a concept by its id.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.concepts.iter().position(|concept| concept.id == id)
    }

    /// The concepts below and including `top`, and everything on the ways from `top` up to the
    /// root. Edges to concepts outside are left out.
    ///
    /// # Errors
    /// There is no concept `top`.
    pub fn extract(&self, top: &str) -> Result<Self> {
        let top = self.position(top).with_context(|| format!("WordNet has no concept {top}"))?;
        let mut kept: BTreeSet<usize> = self.ancestors_of(top);
        kept.insert(top);
        let mut children = vec![Vec::new(); self.concepts.len()];
        for (child, concept) in self.concepts.iter().enumerate() {
            for parent in &concept.parents {
                if let Some(of_parent) = children.get_mut(*parent) {
                    of_parent.push(child);
                }
            }
        }
        let mut open = vec![top];
        while let Some(at) = open.pop() {
            for child in children.get(at).into_iter().flatten() {
                if kept.insert(*child) {
                    open.push(*child);
                }
            }
        }
        let renumbered: HashMap<usize, usize> =
            kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let concepts = kept
            .iter()
            .filter_map(|old| self.concepts.get(*old))
            .map(|concept| Concept {
                parents: concept
                    .parents
                    .iter()
                    .filter_map(|parent| renumbered.get(parent).copied())
                    .collect(),
                ..concept.clone()
            })
            .collect();
        Ok(Self { concepts })
    }

    /// Positions of everything above the concept at `at`, the concept itself not included.
    pub fn ancestors_of(&self, at: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![at];
        while let Some(next) = open.pop() {
            let Some(concept) = self.concepts.get(next) else { continue };
            open.extend(concept.parents.iter().copied().filter(|parent| found.insert(*parent)));
        }
        found
    }

    /// Every edge as (parent, child), in the order of the children.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        self.concepts
            .iter()
            .enumerate()
            .flat_map(|(child, concept)| concept.parents.iter().map(move |up| (*up, child)))
            .collect()
    }

    /// Counts concepts, edges, the transitive closure and the depth.
    pub fn counts(&self) -> Counts {
        let depths: Vec<usize> =
            (0..self.concepts.len()).map(|at| self.shortest_way_up(at)).collect();
        Counts {
            concepts: self.concepts.len(),
            edges: self.concepts.iter().map(|concept| concept.parents.len()).sum(),
            closure: (0..self.concepts.len()).map(|at| self.ancestors_of(at).len()).sum(),
            roots: self.concepts.iter().filter(|concept| concept.parents.is_empty()).count(),
            multi_parent: self.concepts.iter().filter(|concept| concept.parents.len() > 1).count(),
            depth: depths.into_iter().max().unwrap_or(0),
        }
    }

    fn shortest_way_up(&self, at: usize) -> usize {
        let mut level = BTreeSet::from([at]);
        let mut steps = 0;
        loop {
            let concepts = level.iter().filter_map(|at| self.concepts.get(*at));
            if level.is_empty() || concepts.clone().any(|concept| concept.parents.is_empty()) {
                return steps;
            }
            level = concepts.flat_map(|concept| concept.parents.iter().copied()).collect();
            steps += 1;
        }
    }

    /// Writes one line per concept: id, words joined by `|`, topic, parents' ids joined by `,`,
    /// gloss; separated by tabs, under a heading line.
    pub fn to_tsv(&self) -> String {
        let mut text = String::from("id\twords\ttopic\tparents\tgloss\n");
        for concept in &self.concepts {
            let parents: Vec<&str> = concept
                .parents
                .iter()
                .filter_map(|parent| self.concepts.get(*parent))
                .map(|parent| parent.id.as_str())
                .collect();
            let words = concept.words.join("|");
            let parents = parents.join(",");
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{}\t{words}\t{}\t{parents}\t{}",
                concept.id, concept.topic, concept.gloss
            );
        }
        text
    }

    /// Reads what [`Nouns::to_tsv`] wrote.
    ///
    /// # Errors
    /// A line has not five fields, an id occurs twice, or a parent is not in the text.
    pub fn from_tsv(text: &str) -> Result<Self> {
        let mut rows = Vec::new();
        for (number, line) in text.lines().enumerate().skip(1) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [id, words, topic, parents, gloss] = fields.as_slice() else {
                bail!("line {}: {} fields instead of 5", number + 1, fields.len());
            };
            rows.push((number + 1, *id, *words, *topic, *parents, *gloss));
        }
        let mut position = HashMap::with_capacity(rows.len());
        for (at, (line, id, ..)) in rows.iter().enumerate() {
            ensure!(position.insert(*id, at).is_none(), "line {line}: {id} occurs twice");
        }
        let mut concepts = Vec::with_capacity(rows.len());
        for (line, id, words, topic, parents, gloss) in rows {
            let parents = parents
                .split(',')
                .filter(|parent| !parent.is_empty())
                .map(|parent| {
                    position
                        .get(parent)
                        .copied()
                        .with_context(|| format!("line {line}: no concept {parent}"))
                })
                .collect::<Result<Vec<usize>>>()?;
            concepts.push(Concept {
                id: id.to_owned(),
                words: words.split('|').map(str::to_owned).collect(),
                gloss: gloss.to_owned(),
                topic: topic.to_owned(),
                parents,
            });
        }
        ensure!(!concepts.is_empty(), "no concept in the file");
        Ok(Self { concepts })
    }
}

/// The senses of each word: (lower-case word, offset of the synset) to number of the sense.
fn parse_index(index: &str) -> Result<HashMap<(&str, u32), usize>> {
    let mut senses = HashMap::new();
    for (number, line) in index.lines().enumerate().filter(|(_, line)| !line.starts_with(' ')) {
        let parse = || {
            let mut fields = line.split_ascii_whitespace();
            let lemma = fields.next()?;
            let synsets: usize = fields.nth(1)?.parse().ok()?;
            let offsets: Vec<&str> = line.split_ascii_whitespace().collect();
            let offsets = offsets.get(offsets.len().checked_sub(synsets)?..)?;
            let offsets: Option<Vec<u32>> = offsets.iter().map(|text| text.parse().ok()).collect();
            Some((lemma, offsets?))
        };
        let (lemma, offsets) = parse()
            .with_context(|| format!("index.noun, line {}: not an index line", number + 1))?;
        for (sense, offset) in offsets.into_iter().enumerate() {
            senses.insert((lemma, offset), sense + 1);
        }
    }
    Ok(senses)
}

struct Synset {
    offset: u32,
    words: Vec<String>,
    topic: &'static str,
    parents: Vec<u32>,
    gloss: String,
}

fn parse_synset(line: &str) -> Option<Synset> {
    let (fields, gloss) = line.split_once('|')?;
    let mut fields = fields.split_ascii_whitespace();
    let offset = fields.next()?.parse().ok()?;
    let lexicographers_file: usize = fields.next()?.parse().ok()?;
    let topic = TOPICS.get(lexicographers_file.checked_sub(FIRST_TOPIC)?)?;
    let word_count = usize::from_str_radix(fields.nth(1)?, 16).ok()?;
    let mut words = Vec::with_capacity(word_count);
    for _ in 0..word_count {
        words.push(fields.next()?.to_owned());
        fields.next()?;
    }
    let pointer_count: usize = fields.next()?.parse().ok()?;
    let mut parents = Vec::new();
    for _ in 0..pointer_count {
        let symbol = fields.next()?;
        let target = fields.next()?.parse().ok()?;
        let part_of_speech = fields.next()?;
        fields.next()?;
        // "@" is a more general concept, "@i" the concept that a name is an instance of.
        if matches!(symbol, "@" | "@i") && part_of_speech == "n" {
            parents.push(target);
        }
    }
    let gloss = gloss.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    Some(Synset { offset, words, topic, parents, gloss })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &str = "  1 A licence line.
00000010 03 n 01 entity 0 002 ~ 00000020 n 0000 + 00000099 v 0101 | that which is
00000020 05 n 02 Animal 0 living_animal 1 001 @ 00000010 n 0000 | a living thing; \"it eats\"
00000030 05 n 01 pet 0 001 @ 00000010 n 0000 | kept at home
00000040 05 n 01 dog 0 002 @ 00000020 n 0000 @ 00000030 n 0000 | it  barks
00000050 18 n 01 Laika 0 001 @i 00000040 n 0000 | a dog in space
";
    const INDEX: &str = "  1 A licence line.
entity n 1 1 ~ 1 1 00000010
animal n 1 2 @ ~ 1 1 00000020
pet n 2 1 @ 2 1 00000099 00000030
dog n 1 1 @ 1 1 00000040
laika n 1 1 @i 1 0 00000050
";

    #[test]
    fn a_small_database_is_read() {
        let nouns = Nouns::parse(DATA, INDEX).unwrap();
        let ids: Vec<&str> = nouns.concepts.iter().map(|concept| concept.id.as_str()).collect();
        assert_eq!(ids, ["entity.n.01", "animal.n.01", "pet.n.02", "dog.n.01", "laika.n.01"]);
        assert_eq!(nouns.concepts[1].words, ["Animal", "living animal"]);
        assert_eq!(nouns.concepts[3].gloss, "it barks");
        assert_eq!(nouns.concepts[3].topic, "animal");
        assert_eq!(nouns.concepts[4].topic, "person");
        assert_eq!(nouns.concepts[3].parents, [1, 2]);
        let expected =
            Counts { concepts: 5, edges: 5, closure: 9, roots: 1, multi_parent: 1, depth: 3 };
        assert_eq!(nouns.counts(), expected);
        assert_eq!(nouns.edges(), [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]);
    }

    #[test]
    fn an_extract_keeps_what_is_below_and_the_way_up() {
        let nouns = Nouns::parse(DATA, INDEX).unwrap();
        let animals = nouns.extract("animal.n.01").unwrap();
        let ids: Vec<&str> = animals.concepts.iter().map(|concept| concept.id.as_str()).collect();
        assert_eq!(ids, ["entity.n.01", "animal.n.01", "dog.n.01", "laika.n.01"]);
        assert_eq!(animals.concepts[2].parents, [1], "the pet is outside");
        assert!(nouns.extract("cat.n.01").is_err());
    }

    #[test]
    fn the_extract_format_loses_nothing() {
        let nouns = Nouns::parse(DATA, INDEX).unwrap();
        assert_eq!(Nouns::from_tsv(&nouns.to_tsv()).unwrap(), nouns);
    }

    #[test]
    fn damaged_files_are_refused_with_the_line() {
        let cut = DATA.replace("00000040 05 n 01 dog 0 002", "00000040 05 n 01 dog 0 009");
        assert!(format!("{:#}", Nouns::parse(&cut, INDEX).unwrap_err()).contains("line 5"));
        let no_index = INDEX.replace("laika", "lajka");
        assert!(Nouns::parse(DATA, &no_index).unwrap_err().to_string().contains("laika"));
        let no_parent = DATA.replace("@ 00000030", "@ 00000031");
        assert!(Nouns::parse(&no_parent, INDEX).unwrap_err().to_string().contains("00000031"));
        assert!(Nouns::parse("", "").is_err());
        assert!(Nouns::from_tsv("heading\na\tb\tc\td\n").is_err());
        assert!(Nouns::from_tsv("heading\na\ta\tt\t\tg\na\ta\tt\t\tg\n").is_err());
        assert!(Nouns::from_tsv("heading\na\ta\tt\tmissing\tg\n").is_err());
    }
}
