//! Rows of logits in the memory of others (numpy, array, memoryview, anything with the buffer protocol), without a copy.

use half::f16;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use crate::error::InputError;
use crate::given::type_name;

/// A buffer of `float32` or `float16`, of one or two dimensions, with contiguous rows.
pub(crate) struct Logits {
    buffer: PyUntypedBuffer,
    rows: usize,
    columns: usize,
    /// Elements from one row to the next.
    step: usize,
}

/// A row in one of the two formats.
pub(crate) enum Row<'a> {
    Single(&'a [f32]),
    Half(&'a [f16]),
}

/// A row to be changed.
pub(crate) enum RowMut<'a> {
    Single(&'a mut [f32]),
    Half(&'a mut [f16]),
}

/// Rows in one of the two formats.
pub(crate) enum Rows<'a> {
    Single(ArrayView2<'a, f32>),
    Half(ArrayView2<'a, f16>),
}

/// Rows to be changed.
pub(crate) enum RowsMut<'a> {
    Single(ArrayViewMut2<'a, f32>),
    Half(ArrayViewMut2<'a, f16>),
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Single,
    Half,
}

impl Logits {
    /// One row [vocab_size].
    pub(crate) fn row(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::new(given, 1, "a row of logits has one dimension")
    }

    /// Several rows [n, vocab_size].
    pub(crate) fn rows(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        Self::new(given, 2, "a batch of logits has two dimensions")
    }

    fn new(given: &Bound<'_, PyAny>, dimensions: usize, expected: &str) -> PyResult<Self> {
        let buffer = PyUntypedBuffer::get(given).map_err(|_| {
            InputError::new_err(format!(
                "logits are a float32 array in memory of the host with the buffer protocol (numpy, array, memoryview), not {}",
                type_name(given)
            ))
        })?;
        if buffer.dimensions() != dimensions {
            return Err(InputError::new_err(format!("{expected}; this buffer has {}", buffer.dimensions())));
        }
        let size = format(&buffer)?.size();
        let mismatch =
            || InputError::new_err("the rows of logits are not contiguous in memory; pass a contiguous copy");
        let shape = buffer.shape();
        let (rows, columns) = if let [rows, columns] = *shape { (rows, columns) } else { (1, buffer.item_count()) };
        let mut step = columns;
        if let (&[outer, inner], true) = (buffer.strides(), rows > 0) {
            let inner = usize::try_from(inner).ok().filter(|&inner| inner == size || columns < 2);
            // One row may stand anywhere; several must not overlap.
            let outer = usize::try_from(outer).ok().filter(|&outer| outer % size == 0 && outer / size >= columns);
            match (inner, outer) {
                (Some(_), Some(outer)) => step = outer / size,
                (Some(_), None) if rows == 1 => {}
                _ => return Err(mismatch()),
            }
        } else if dimensions == 1 && !buffer.is_c_contiguous() {
            return Err(mismatch());
        }
        if buffer.suboffsets().is_some_and(|offsets| offsets.iter().any(|&offset| offset >= 0))
            || (rows * columns > 0 && !buffer.buf_ptr().addr().is_multiple_of(size))
        {
            return Err(mismatch());
        }
        Ok(Self { buffer, rows, columns, step })
    }

    fn check_writable(&self) -> PyResult<()> {
        match self.buffer.readonly() {
            true => Err(InputError::new_err("process changes logits in place, and this buffer is read-only")),
            false => Ok(()),
        }
    }

    fn pointer<T>(&self) -> *mut T {
        // An empty buffer may have no address.
        if self.rows * self.columns == 0 { std::ptr::dangling_mut() } else { self.buffer.buf_ptr().cast() }
    }

    /// The row.
    pub(crate) fn get(&self) -> PyResult<Row<'_>> {
        // SAFETY: `new` has checked format, alignment and contiguity of one row of `columns` elements, and the exporter keeps the
        // memory while `buffer` is held. That nobody writes to it meanwhile is the caller's part, as for every reader of the
        // buffer protocol.
        unsafe {
            Ok(match format(&self.buffer)? {
                Format::Single => Row::Single(std::slice::from_raw_parts(self.pointer(), self.columns)),
                Format::Half => Row::Half(std::slice::from_raw_parts(self.pointer(), self.columns)),
            })
        }
    }

    /// The row, to be changed in place.
    pub(crate) fn get_mut(&mut self) -> PyResult<RowMut<'_>> {
        self.check_writable()?;
        // SAFETY: as `get`; and the memory is writable.
        unsafe {
            Ok(match format(&self.buffer)? {
                Format::Single => RowMut::Single(std::slice::from_raw_parts_mut(self.pointer(), self.columns)),
                Format::Half => RowMut::Half(std::slice::from_raw_parts_mut(self.pointer(), self.columns)),
            })
        }
    }

    /// All rows.
    pub(crate) fn view(&self) -> PyResult<Rows<'_>> {
        let shape = (self.rows, self.columns).strides((self.step, 1));
        // SAFETY: as `get`, for `rows` rows that `step >= columns` elements keep apart.
        unsafe {
            Ok(match format(&self.buffer)? {
                Format::Single => Rows::Single(ArrayView2::from_shape_ptr(shape, self.pointer())),
                Format::Half => Rows::Half(ArrayView2::from_shape_ptr(shape, self.pointer())),
            })
        }
    }

    /// All rows, to be changed in place.
    pub(crate) fn view_mut(&mut self) -> PyResult<RowsMut<'_>> {
        self.check_writable()?;
        let shape = (self.rows, self.columns).strides((self.step, 1));
        // SAFETY: as `view`; and the memory is writable.
        unsafe {
            Ok(match format(&self.buffer)? {
                Format::Single => RowsMut::Single(ArrayViewMut2::from_shape_ptr(shape, self.pointer())),
                Format::Half => RowsMut::Half(ArrayViewMut2::from_shape_ptr(shape, self.pointer())),
            })
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }
}

impl Format {
    fn size(self) -> usize {
        match self {
            Self::Single => size_of::<f32>(),
            Self::Half => size_of::<f16>(),
        }
    }
}

fn format(buffer: &PyUntypedBuffer) -> PyResult<Format> {
    let format = buffer.format().to_bytes();
    let native = if cfg!(target_endian = "little") { b'<' } else { b'>' };
    let kind = match *format {
        [kind] => Some(kind),
        [order, kind] if [b'@', b'=', native].contains(&order) => Some(kind),
        _ => None,
    };
    match kind {
        Some(b'f') => Ok(Format::Single),
        Some(b'e') => Ok(Format::Half),
        _ => Err(InputError::new_err(format!(
            "logits are float32 or float16; this buffer holds elements of format {:?}",
            buffer.format().to_string_lossy()
        ))),
    }
}
