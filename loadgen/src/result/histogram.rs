//! A histogram of times: recorded in microseconds, kept in the JSON with all its buckets.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest time told apart from longer ones, in microseconds: one hour.
const HIGHEST_US: u64 = 3_600_000_000;
/// Three significant digits.
const DIGITS: u8 = 3;

/// Times in microseconds: the figures people look for, and the whole histogram.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(into = "Written", try_from = "Written")]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_US, DIGITS).expect("constant bounds are valid"))
    }
}

impl Times {
    /// The longest time told apart from longer ones, in nanoseconds.
    pub const HIGHEST: u64 = HIGHEST_US * 1000;

    /// Records a time, in nanoseconds.
    pub fn record(&mut self, time: u64) {
        self.0.saturating_record(time / 1000);
    }

    /// Adds all of another: the only way percentiles of several workers or trials come together.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the same bounds");
    }

    /// All of several.
    pub fn merged<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |mut sum, times| {
            sum.add(times);
            sum
        })
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that this share (0 to 1) does not exceed; `None` if nothing was recorded.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(share)))
    }

    /// The same in milliseconds.
    pub fn ms(&self, share: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(share) as f64 / 1e3)
    }

    /// Mean and standard deviation, in milliseconds.
    pub fn moments(&self) -> (f64, f64) {
        (self.0.mean() / 1e3, self.0.stdev() / 1e3)
    }

    /// The share (0 to 1) that does not exceed a time in milliseconds.
    pub fn share_within(&self, ms: f64) -> f64 {
        if self.0.is_empty() {
            0.0
        } else {
            self.0.count_between(0, (ms * 1e3) as u64) as f64 / self.0.len() as f64
        }
    }

    /// The quantiles (i + 1/2) / n in milliseconds: `n` points that stand for the whole.
    pub fn points(&self, n: usize) -> Vec<f64> {
        let share = |i| (i as f64 + 0.5) / n as f64;
        (0..n).filter_map(|i| self.ms(share(i))).collect()
    }

    /// The histogram itself.
    pub fn inner(&self) -> &Histogram<u64> {
        &self.0
    }

    /// The longest.
    pub fn max(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.max()))
    }
}

/// What the JSON has of it.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Written {
    /// How many.
    count: u64,
    /// Their mean.
    mean_us: f64,
    /// The median.
    p50_us: u64,
    /// The 90th percentile.
    p90_us: u64,
    /// The 99th percentile.
    p99_us: u64,
    /// The longest.
    max_us: u64,
    /// Every bucket: HdrHistogram's V2 encoding, deflated, in base64, as its interval logs have it.
    hdr: String,
}

impl From<Times> for Written {
    fn from(Times(histogram): Times) -> Self {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&histogram, &mut bytes)
            .expect("a Vec takes what it is given");
        let at = |share| histogram.value_at_quantile(share);
        Self {
            count: histogram.len(),
            mean_us: (histogram.mean() * 10.0).round() / 10.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: histogram.max(),
            hdr: STANDARD.encode(bytes),
        }
    }
}

impl TryFrom<Written> for Times {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        let bytes = STANDARD.decode(written.hdr)?;
        let mut times = Self::default();
        // Into bounds of our own, so that it can be added to others.
        times
            .0
            .add(&Deserializer::new().deserialize::<u64, _>(&mut inflated(&bytes)?.as_slice())?)?;
        Ok(times)
    }
}

/// Unpacks an encoded histogram if its header says what ours say: otherwise the file would decide how much memory it
/// takes to read it.
fn inflated(bytes: &[u8]) -> Result<Vec<u8>> {
    /// Cookie, length of the counts, offset, digits, lowest, highest and ratio.
    const HEADER: usize = 40;
    /// A count takes at most 9 bytes.
    const MOST: usize = HEADER + 9 * 24 * 1024;
    let packed = bytes.get(8..).context("a histogram is cut short")?;
    let mut plain = Vec::new();
    ZlibDecoder::new(packed)
        .take(MOST as u64 + 1)
        .read_to_end(&mut plain)?;
    let header = plain
        .first_chunk::<HEADER>()
        .context("a histogram is cut short")?;
    let length = plain.len() - HEADER;
    let own = [u64::from(DIGITS), 1, HIGHEST_US];
    let read = |at: usize, size: usize| {
        header[at..at + size]
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let is_ours = plain.len() <= MOST
        && read(4, 4) == length as u64
        && [read(12, 4), read(16, 8), read(24, 8)] == own;
    ensure!(is_ours, "a histogram is not of 3 digits from 1 us to 1 h");
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::read::ZlibEncoder;

    use super::*;

    #[test]
    fn a_histogram_reads_back_from_its_json_with_every_bucket() {
        let mut times = Times::default();
        (1..10_000).for_each(|i| times.record(i * i * 1000));
        let json = serde_json::to_string(&times).unwrap();
        assert_eq!(serde_json::from_str::<Times>(&json).unwrap(), times);
        assert!(json.contains("\"count\":9999"), "{json}");
    }

    #[test]
    fn a_histogram_of_another_shape_is_refused_before_it_takes_memory() {
        let written = |bytes: &[u8]| Written {
            hdr: STANDARD.encode(bytes),
            ..Times::default().into()
        };
        let encode = |histogram: &Histogram<u64>| {
            let mut bytes = Vec::new();
            V2DeflateSerializer::new()
                .serialize(histogram, &mut bytes)
                .unwrap();
            bytes
        };
        let large = encode(&Histogram::new_with_bounds(1, u64::MAX, 5).unwrap());
        let good = encode(&Times::default().0);
        assert!(Times::try_from(written(&good)).is_ok());
        // A length of 4 GiB in the inner header, and zeros without end behind a header.
        let mut long = inflated(&good).unwrap();
        long[4..8].fill(0xff);
        let mut endless = inflated(&good).unwrap();
        endless.resize(3_000_000, 0);
        let pack = |plain: &[u8]| {
            let mut packed = good[..8].to_vec();
            packed[4..8].fill(0xff);
            ZlibEncoder::new(plain, Compression::fast())
                .read_to_end(&mut packed)
                .unwrap();
            packed
        };
        for bytes in [
            &large[..],
            &pack(&long),
            &pack(&endless),
            &good[..good.len() / 2],
            &good[..4],
            b"",
        ] {
            assert!(
                Times::try_from(written(bytes)).is_err(),
                "{} bytes",
                bytes.len()
            );
        }
    }

    #[test]
    fn an_empty_one_has_no_quantiles() {
        assert_eq!(Times::default().quantile(0.5), None);
        assert_eq!(Times::default().max(), None);
    }
}
