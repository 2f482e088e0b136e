//! Dictionaries, and compressing with them.

use std::cell::RefCell;

use parking_lot::Mutex;
use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DDict};

use super::{Codec, DamagedRow};
use crate::codec::{DecodeError, Decoder, put_varint};

const FORMAT_VERSION: u8 = 1;
/// Of zstd: the level below which more is lost in size than is won in time, with a dictionary.
const LEVEL: i32 = 3;

thread_local! {
    /// Setting one up costs more than compressing a record.
    static DECOMPRESS: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// What compresses records alike: a codec with the bytes that they are likely to have in common.
pub(super) struct Dictionary {
    pub(super) number: u32,
    pub(super) codec: Codec,
    /// Live records of the shard when it was trained.
    pub(super) records: u64,
    bytes: Vec<u8>,
    /// Of zstd, once something is compressed: by the thread that writes, in practice.
    compress: Mutex<Option<CCtx<'static>>>,
    /// Of zstd.
    decompress: Option<DDict<'static>>,
}

impl Dictionary {
    /// Without common bytes.
    pub(super) fn empty(codec: Codec) -> Self {
        let (bytes, compress) = (Vec::new(), Mutex::default());
        Self { number: 0, codec, records: 0, bytes, compress, decompress: None }
    }

    pub(super) fn new(
        number: u32,
        codec: Codec,
        records: u64,
        bytes: Vec<u8>,
    ) -> Result<Self, DecodeError> {
        let decompress = match codec {
            Codec::Lz4 => None,
            Codec::Zstd => {
                let prepared = DDict::try_create(&bytes);
                Some(prepared.ok_or(DecodeError::Field { field: "dictionary" })?)
            }
        };
        Ok(Self { number, codec, records, bytes, compress: Mutex::default(), decompress })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT_VERSION, self.codec.byte()];
        put_varint(&mut out, self.records);
        out.extend_from_slice(&self.bytes);
        out
    }

    pub(super) fn decode(number: u32, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        decoder.version(FORMAT_VERSION)?;
        let codec = Codec::from_byte(decoder.u8("codec")?);
        let codec = codec.ok_or(DecodeError::Field { field: "codec" })?;
        let records = decoder.varint("records")?;
        Self::new(number, codec, records, decoder.rest().to_vec())
    }

    /// Compresses into `out`, which is empty. Returns whether it did.
    pub(super) fn compress(&self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        match self.codec {
            Codec::Lz4 => {
                out.resize(lz4_flex::block::get_maximum_output_size(plain.len()), 0);
                let written = if self.bytes.is_empty() {
                    lz4_flex::block::compress_into(plain, out)
                } else {
                    lz4_flex::block::compress_into_with_dict(plain, out, &self.bytes)
                };
                out.truncate(*written.as_ref().unwrap_or(&0));
                written.is_ok()
            }
            Codec::Zstd => {
                out.reserve(zstd_safe::compress_bound(plain.len()));
                let mut context = self.compress.lock();
                if context.is_none() {
                    *context = self.context();
                }
                context.as_mut().is_some_and(|context| context.compress2(out, plain).is_ok())
            }
        }
    }

    /// What zstd compresses with. The row says which dictionary it needs, and how long it is.
    fn context(&self) -> Option<CCtx<'static>> {
        let mut context = CCtx::try_create()?;
        for parameter in [
            CParameter::CompressionLevel(LEVEL),
            CParameter::DictIdFlag(false),
            CParameter::ContentSizeFlag(false),
        ] {
            context.set_parameter(parameter).ok()?;
        }
        if !self.bytes.is_empty() {
            context.load_dictionary(&self.bytes).ok()?;
        }
        Some(context)
    }

    /// Decompresses to exactly as many bytes as `out` has room for.
    pub(super) fn decompress(&self, compressed: &[u8], out: &mut [u8]) -> Result<(), DamagedRow> {
        let length = out.len();
        let written = match self.codec {
            Codec::Lz4 => if self.bytes.is_empty() {
                lz4_flex::block::decompress_into(compressed, out)
            } else {
                lz4_flex::block::decompress_into_with_dict(compressed, out, &self.bytes)
            }
            .map_err(|error| DamagedRow::Content { reason: error.to_string() })?,
            Codec::Zstd => DECOMPRESS
                .with_borrow_mut(|context| match &self.decompress {
                    Some(dictionary) => context.decompress_using_ddict(out, compressed, dictionary),
                    None => context.decompress(out, compressed),
                })
                .map_err(|code| DamagedRow::Content {
                    reason: zstd_safe::get_error_name(code).to_owned(),
                })?,
        };
        if written == length {
            return Ok(());
        }
        let reason = format!("it has {written} bytes instead of {length}");
        Err(DamagedRow::Content { reason })
    }
}
