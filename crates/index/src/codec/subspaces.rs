//! Product quantisation (Jégou, Douze and Schmid 2011): a few lanes together are coded as the number
//! of the nearest of 256 centres, which are found by k-means on the rows of the segment.
//!
//! A query is not coded. For each group of lanes its squared distances to all centres are
//! tabulated, and the key of a row is a sum of what the tables say for the numbers of its code. In
//! a product, the sum of each component is turned into a distance before the components are
//! weighed and added, as the metric does it.

#[cfg(test)]
mod tests;

use crate::{
    metric::{Lane, Metric, Shape},
    random::Random,
};

/// Lanes that are coded together. Rows have a multiple of four.
const WIDTH: usize = 4;
/// Centres for each group of lanes: what a byte can number.
const CENTRES: usize = 256;
/// Rows per centre that centres are found from.
const SAMPLE: usize = 32;
/// Rounds of assigning and averaging.
const ROUNDS: usize = 8;
/// Numbers that the centres of a group have.
const BOOK: usize = CENTRES * WIDTH;

/// A component, and how many groups of lanes it has.
#[derive(Debug, Clone, Copy)]
struct Part {
    shape: Shape,
    weight: f64,
    groups: usize,
}

/// The centres of all groups of lanes.
#[derive(Debug)]
pub(crate) struct Subspaces {
    parts: Vec<Part>,
    is_product: bool,
    /// For each group `BOOK` numbers: the first lane of all centres, then the next.
    books: Vec<f32>,
}

impl Subspaces {
    fn with<T: Lane>(metric: &Metric<T>) -> Self {
        let part = |(shape, weight): (Shape, f64)| Part {
            shape,
            weight,
            groups: shape.stored().div_ceil(WIDTH),
        };
        let parts = metric.parts().map(part).collect();
        Self { parts, is_product: metric.is_product(), books: Vec::new() }
    }

    pub(super) fn parameter_count<T: Lane>(metric: &Metric<T>) -> usize {
        Self::with(metric).stride() * BOOK
    }

    /// Centres for the rows of a matrix, the same every time; `None` once `stop` says so.
    pub(super) fn fit<T: Lane>(
        metric: &Metric<T>,
        ranking: &[T],
        stop: &dyn Fn() -> bool,
    ) -> Option<Self> {
        let mut codec = Self::with(metric);
        let lanes = metric.lanes().max(1);
        let mut random = Random(0x5EED);
        let sample = random.sample(ranking.len() / lanes, CENTRES * SAMPLE);
        let mut points: Vec<Vec<[f32; WIDTH]>> = vec![Vec::new(); codec.stride()];
        for &row in &sample {
            let row = ranking.get(row * lanes..(row + 1) * lanes)?;
            for (points, point) in points.iter_mut().zip(codec.groups(row)) {
                points.push(point);
            }
        }
        for points in &points {
            codec.books.extend_from_slice(&centres(points, &mut random, stop)?);
        }
        Some(codec)
    }

    pub(super) fn read<T: Lane>(metric: &Metric<T>, books: &[f32]) -> Option<Self> {
        let mut codec = Self::with(metric);
        codec.books.extend_from_slice(books);
        let fits = books.len() == codec.stride() * BOOK && books.iter().all(|x| x.is_finite());
        fits.then_some(codec)
    }

    pub(super) fn parameters(&self) -> &[f32] {
        &self.books
    }

    /// Bytes of a row: one for each group of lanes.
    pub(super) fn stride(&self) -> usize {
        self.parts.iter().map(|part| part.groups).sum()
    }

    /// The lanes of a row that are coded together, without those that only pad it.
    fn groups<T: Lane>(&self, row: &[T]) -> impl Iterator<Item = [f32; WIDTH]> {
        let mut first = 0;
        self.parts.iter().flat_map(move |part| {
            let own = row.get(first..first + part.shape.lanes()).unwrap_or_default();
            first += part.shape.lanes();
            own.chunks_exact(WIDTH).take(part.groups).map(narrow)
        })
    }

    pub(super) fn encode<T: Lane>(&self, row: &[T], codes: &mut Vec<u8>) {
        let (groups, books) = (self.groups(row), self.books.as_chunks::<BOOK>().0);
        codes.extend(groups.zip(books).map(|(lanes, book)| {
            let (nearest, _) = nearest(&squares(book, lanes));
            u8::try_from(nearest).unwrap_or_default()
        }));
    }

    /// What every number of a code adds to a key.
    pub(super) fn tables<T: Lane>(&self, row: &[T]) -> Tables<'_> {
        let groups = self.groups(row).zip(self.books.as_chunks::<BOOK>().0);
        let squares = groups.map(|(lanes, book)| squares(book, lanes)).collect();
        Tables { codec: self, squares }
    }
}

/// A query's squared distances to all centres of each group.
pub(super) struct Tables<'a> {
    codec: &'a Subspaces,
    squares: Vec<[f32; CENTRES]>,
}

impl Tables<'_> {
    /// The key of a code.
    #[inline]
    pub(super) fn key<T: Lane>(&self, code: &[u8]) -> T {
        let add = |sum: f32, (table, &number): (&[f32; CENTRES], &u8)| {
            sum + table.get(usize::from(number)).copied().unwrap_or(0.0)
        };
        let mut squares = self.squares.iter().zip(code);
        if !self.codec.is_product {
            let sum = squares.fold(0.0, add);
            return T::from_f64(f64::from(sum)).min_or(T::MAX);
        }
        let mut key = 0.0;
        for part in &self.codec.parts {
            let sum = squares.by_ref().take(part.groups).fold(0.0, add);
            let distance = part.shape.distance(f64::from(sum));
            key += part.weight * distance * distance;
        }
        T::from_f64(key).min_or(T::MAX)
    }
}

/// Lanes as centres have them.
#[expect(clippy::cast_possible_truncation, reason = "clamped to what f32 holds")]
fn narrow<T: Lane>(lanes: &[T]) -> [f32; WIDTH] {
    let mut narrow = [0.0; WIDTH];
    for (to, lane) in narrow.iter_mut().zip(lanes) {
        *to = lane.to_f64().clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32;
    }
    narrow
}

/// Squared distances of a point to the centres of a group.
fn squares(book: &[f32; BOOK], point: [f32; WIDTH]) -> [f32; CENTRES] {
    let mut squares = [0.0; CENTRES];
    for (lane, centres) in point.into_iter().zip(book.as_chunks::<CENTRES>().0) {
        for (square, centre) in squares.iter_mut().zip(centres) {
            let difference = lane - centre;
            *square += difference * difference;
        }
    }
    squares
}

/// The first of the smallest.
fn nearest(squares: &[f32; CENTRES]) -> (usize, f32) {
    let mut best = (0, f32::INFINITY);
    for (at, &square) in squares.iter().enumerate() {
        if square < best.1 {
            best = (at, square);
        }
    }
    best
}

/// 256 centres of points by k-means, which starts from points that lie far apart (Arthur and
/// Vassilvitskii 2007).
fn centres(
    points: &[[f32; WIDTH]],
    random: &mut Random,
    stop: &dyn Fn() -> bool,
) -> Option<[f32; BOOK]> {
    let mut book = [0.0; BOOK];
    let put = |book: &mut [f32; BOOK], centre: usize, point: [f32; WIDTH]| {
        for (lane, centres) in point.into_iter().zip(book.as_chunks_mut::<CENTRES>().0) {
            if let Some(to) = centres.get_mut(centre) {
                *to = lane;
            }
        }
    };
    let mut least = vec![f64::INFINITY; points.len()];
    let mut next = random.below(points.len());
    for centre in 0..CENTRES {
        let Some(&seed) = points.get(next) else { break };
        put(&mut book, centre, seed);
        for (least, point) in least.iter_mut().zip(points) {
            let square: f32 = point.iter().zip(seed).map(|(a, b)| (a - b) * (a - b)).sum();
            *least = least.min(f64::from(square));
        }
        let mut left = random.unit() * least.iter().sum::<f64>();
        let far = least.iter().position(|square| {
            left -= square;
            left < 0.0
        });
        // Without one, all lie on a centre already.
        next = far.unwrap_or_else(|| random.below(points.len()));
    }
    for _ in 0..ROUNDS {
        if stop() {
            return None;
        }
        let mut sums = [([0.0_f64; WIDTH], 0.0_f64); CENTRES];
        for &point in points {
            let (own, _) = nearest(&squares(&book, point));
            let Some((sum, members)) = sums.get_mut(own) else { continue };
            for (sum, lane) in sum.iter_mut().zip(point) {
                *sum += f64::from(lane);
            }
            *members += 1.0;
        }
        let before = book;
        for (centre, (sum, members)) in sums.into_iter().enumerate() {
            if members > 0.0 {
                put(&mut book, centre, narrow(&sum.map(|lane| lane / members)));
            }
        }
        if bytemuck::cast_slice::<f32, u8>(&book) == bytemuck::cast_slice::<f32, u8>(&before) {
            break;
        }
    }
    Some(book)
}
