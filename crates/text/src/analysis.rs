//! From text to the words that are indexed.

use std::str::FromStr;

use icu_normalizer::ComposingNormalizerBorrowed;
use tantivy::tokenizer::{Stemmer, TextAnalyzer, Token, TokenStream, Tokenizer};
use unicode_segmentation::UnicodeSegmentation;

/// Words longer than this are neither indexed nor searched for.
pub const MAX_WORD_BYTES: usize = 255;

/// How words are reduced to their stems, so that `cats` finds `cat`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Language(Option<tantivy::tokenizer::Language>);

/// Names of the languages, and the stemmers.
const LANGUAGES: [(&str, tantivy::tokenizer::Language); 18] = {
    use tantivy::tokenizer::Language as Of;
    [
        ("arabic", Of::Arabic),
        ("danish", Of::Danish),
        ("dutch", Of::Dutch),
        ("english", Of::English),
        ("finnish", Of::Finnish),
        ("french", Of::French),
        ("german", Of::German),
        ("greek", Of::Greek),
        ("hungarian", Of::Hungarian),
        ("italian", Of::Italian),
        ("norwegian", Of::Norwegian),
        ("portuguese", Of::Portuguese),
        ("romanian", Of::Romanian),
        ("russian", Of::Russian),
        ("spanish", Of::Spanish),
        ("swedish", Of::Swedish),
        ("tamil", Of::Tamil),
        ("turkish", Of::Turkish),
    ]
};

impl Language {
    /// Words stay as they are.
    pub const NONE: Self = Self(None);

    /// All names, `none` first.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once("none").chain(LANGUAGES.iter().map(|(name, _)| *name))
    }

    /// The name.
    pub fn name(self) -> &'static str {
        let named = LANGUAGES.iter().find(|(_, language)| Some(*language) == self.0);
        named.map_or("none", |(name, _)| *name)
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if name == "none" {
            return Ok(Self::NONE);
        }
        if let Some((_, language)) = LANGUAGES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(Some(*language)));
        }
        let known: Vec<_> = Self::names().collect();
        Err(format!("language is {name:?}, it must be one of {}", known.join(", ")))
    }
}

/// The words of a text, in order: those of Unicode (UAX #29, so that an ideograph is one word),
/// in compatibility form (NFKC) and lower case, reduced to stems. Of the language [`Language::NONE`]
/// no stems are made.
pub(crate) fn words(text: &str, language: Language) -> Vec<String> {
    let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(text);
    let lower = normal.to_lowercase();
    let plain = lower.unicode_words().filter(|word| word.len() <= MAX_WORD_BYTES);
    match language.0 {
        None => plain.map(str::to_owned).collect(),
        Some(language) => stems(plain.map(str::to_owned).collect(), language),
    }
}

fn stems(words: Vec<String>, language: tantivy::tokenizer::Language) -> Vec<String> {
    let count = words.len();
    let mut analyzer =
        TextAnalyzer::builder(Words { words }).filter(Stemmer::new(language)).build();
    let mut stream = analyzer.token_stream("");
    let mut stems = Vec::with_capacity(count);
    while stream.advance() {
        let stem = &stream.token().text;
        if !stem.is_empty() && stem.len() <= MAX_WORD_BYTES {
            stems.push(stem.clone());
        }
    }
    stems
}

/// Words that were found before, as the stemmer takes them.
#[derive(Clone)]
struct Words {
    words: Vec<String>,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, _text: &'a str) -> WordStream<'a> {
        WordStream { words: self.words.iter(), token: Token::default() }
    }
}

struct WordStream<'a> {
    words: std::slice::Iter<'a, String>,
    token: Token,
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some(word) = self.words.next() else { return false };
        self.token.text.clone_from(word);
        self.token.position = self.token.position.wrapping_add(1);
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Vec<String> {
        words(text, Language::NONE)
    }

    #[test]
    fn words_are_those_of_unicode_in_one_form() {
        assert_eq!(plain("The QUICK, brown fox-trot!"), ["the", "quick", "brown", "fox", "trot"]);
        assert_eq!(plain("can't stop 3.14"), ["can't", "stop", "3.14"]);
        // An accent of its own, a ligature and wide letters are what they look like.
        assert_eq!(plain("Cafe\u{301} \u{fb01}n \u{ff21}"), ["café", "fin", "a"]);
        assert_eq!(plain("東京タワー"), ["東", "京", "タワー"]);
        assert_eq!(plain("ΟΔΟΣ"), ["οδος"]);
        assert!(plain(" \u{0} +-\"()*: \u{200d}").is_empty());
    }

    #[test]
    fn stems_are_made_only_for_a_language() {
        let english: Language = "english".parse().unwrap();
        assert_eq!(words("Cats running", english), ["cat", "run"]);
        assert_eq!(plain("Cats running"), ["cats", "running"]);
        assert!("klingon".parse::<Language>().unwrap_err().contains("english"));
        for name in Language::names() {
            let language: Language = name.parse().unwrap();
            assert_eq!(language.name(), name);
            // Whatever the letters are.
            words("a İß \u{1f600} лучше 東 run's ''' १२", language);
        }
    }

    #[test]
    fn a_word_has_at_most_its_limit() {
        let fits = "x".repeat(MAX_WORD_BYTES);
        assert_eq!(plain(&format!("{fits} {fits}y z")), [fits, "z".to_owned()]);
    }
}
