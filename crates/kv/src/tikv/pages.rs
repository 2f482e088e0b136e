//! Reading a range in pages that fit into a message.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{Frame, Tikv, TikvError, attempts, failure};
use crate::{KvError, ScanLimit, ScanPage};

/// Most pairs asked for at once; TiKV refuses more than 10,240.
const MOST_PAIRS: u32 = 1024;
/// An answer of less is asked for with more pairs the next time.
const SMALL_ANSWER_BYTES: usize = 1 << 20;

/// How many pairs to ask for at once. TiKV limits pages by count alone and fails when the answer is
/// larger than a message, so that the count follows the size of the values, which differs
/// between what is read by a thousandfold.
#[derive(Debug)]
pub(super) struct PageSize(AtomicU32);

impl Default for PageSize {
    fn default() -> Self {
        Self(AtomicU32::new(256))
    }
}

impl PageSize {
    fn pairs(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// An answer with `asked` pairs was too large. False: it cannot be made smaller.
    fn shrink(&self, asked: u32) -> bool {
        self.0.store((asked / 4).max(1), Ordering::Relaxed);
        asked > 1
    }

    fn grow(&self, asked: u32) {
        self.0.store(asked.saturating_mul(2).min(MOST_PAIRS), Ordering::Relaxed);
    }
}

impl Tikv {
    pub(super) async fn page(
        &self,
        start: &[u8],
        end: &[u8],
        limit: ScanLimit,
    ) -> Result<ScanPage, KvError> {
        let mut page = ScanPage::default();
        let mut bytes = 0_usize;
        let mut from = start.to_vec();
        while from.as_slice() < end {
            // One more than wanted, to know whether there is more.
            let missing = limit.pairs.max(1) - page.pairs.len();
            let wanted = u32::try_from(missing).unwrap_or(u32::MAX).saturating_add(1);
            let (pairs, is_all) = self.part(&from, end, wanted).await?;
            if let Some((last, _)) = pairs.last() {
                from = [last, &[0][..]].concat();
            }
            for (key, value) in pairs {
                let full = page.pairs.len() >= limit.pairs.max(1) || bytes >= limit.bytes;
                if full && !page.pairs.is_empty() {
                    page.next = Some(key);
                    return Ok(page);
                }
                bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
                page.pairs.push((key, value));
            }
            if is_all {
                break;
            }
        }
        Ok(page)
    }

    /// Some pairs from `from`, at most `wanted`, and whether there are no more before `end`.
    async fn part(
        &self,
        from: &[u8],
        end: &[u8],
        wanted: u32,
    ) -> Result<(Vec<(Vec<u8>, Vec<u8>)>, bool), KvError> {
        let range = self.full_key(from)..self.full_key(end);
        let mut attempts = self.attempts();
        let (asked, found) = loop {
            let asked = wanted.min(self.page_size.pairs());
            let clients = self.clients.load_full();
            let part = clients.reading.batch_scan([range.clone()], asked);
            match attempts.limit(part).await {
                Ok(found) => break (asked, found),
                Err(error) if attempts::is_too_large(&error) => {
                    if !self.page_size.shrink(asked) {
                        return Err(failure("scan from", from, error));
                    }
                }
                Err(error) if attempts::is_final(&error) => {
                    return Err(failure("scan from", from, error));
                }
                Err(error) => {
                    if !attempts.pause().await {
                        self.reconnect().await;
                        return Err(failure("scan from", from, error));
                    }
                }
            }
        };
        let limit = usize::try_from(asked).unwrap_or(usize::MAX);
        let is_all = found.len() < limit;
        let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut size = 0;
        // The limit holds for each region, and after what one has left out comes the next one.
        for pair in found.into_iter().take(limit) {
            let (full, value) = (Vec::<u8>::from(pair.0), pair.1);
            let key = full.get(self.config.prefix.len()..).unwrap_or_default().to_vec();
            let is_after = pairs.last().is_none_or(|(before, _)| *before < key);
            if !range.contains(&full) || !is_after {
                let key = full.as_slice().into();
                return Err(failure("scan from", from, TikvError::Disordered { key }));
            }
            size += full.len() + value.len();
            let frame = Frame::parse(value).map_err(|error| failure("scan from", &key, error))?;
            pairs.push((key, frame.into_value()));
        }
        if !is_all && asked == self.page_size.pairs() && size < SMALL_ANSWER_BYTES {
            self.page_size.grow(asked);
        }
        Ok((pairs, is_all))
    }
}
