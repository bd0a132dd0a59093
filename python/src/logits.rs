//! Rows of logits in the memory of others, without a copy: the buffer protocol (numpy, array, memoryview) or DLPack (torch).

use half::{bf16, f16};
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use crate::dlpack::Tensor;
use crate::error::InputError;
use crate::given::type_name;

/// Memory of `float32`, `float16` or `bfloat16`, of one or two dimensions, with contiguous rows.
pub(crate) struct Logits {
    /// Keeps the memory.
    _owner: Owner,
    data: *mut u8,
    format: Format,
    read_only: bool,
    rows: usize,
    columns: usize,
    /// Elements from one row to the next.
    step: usize,
}

#[expect(dead_code, reason = "held, not read")]
enum Owner {
    Buffer(PyUntypedBuffer),
    Tensor(Tensor),
}

/// A row in one of the formats.
pub(crate) enum Row<'a> {
    Single(&'a [f32]),
    Half(&'a [f16]),
    Brain(&'a [bf16]),
}

/// A row to be changed.
pub(crate) enum RowMut<'a> {
    Single(&'a mut [f32]),
    Half(&'a mut [f16]),
    Brain(&'a mut [bf16]),
}

/// Rows in one of the formats.
pub(crate) enum Rows<'a> {
    Single(ArrayView2<'a, f32>),
    Half(ArrayView2<'a, f16>),
    Brain(ArrayView2<'a, bf16>),
}

/// Rows to be changed.
pub(crate) enum RowsMut<'a> {
    Single(ArrayViewMut2<'a, f32>),
    Half(ArrayViewMut2<'a, f16>),
    Brain(ArrayViewMut2<'a, bf16>),
}

/// Does the same with rows of any format.
macro_rules! in_format {
    ($kind:ident, $rows:expr, |$row:ident| $call:expr) => {
        match $rows {
            $kind::Single($row) => $call,
            $kind::Half($row) => $call,
            $kind::Brain($row) => $call,
        }
    };
}
pub(crate) use in_format;

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Single,
    Half,
    Brain,
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
        if let Ok(buffer) = PyUntypedBuffer::get(given) {
            let format = Format::of_buffer(&buffer)?;
            let size = format.size().cast_signed();
            // Bytes that are no whole elements fit no layout.
            let strides: Vec<isize> =
                buffer.strides().iter().map(|&bytes| if bytes % size == 0 { bytes / size } else { -1 }).collect();
            let indirect = buffer.suboffsets().is_some_and(|offsets| offsets.iter().any(|&offset| offset >= 0));
            let layout = Layout { expected, dimensions, shape: buffer.shape(), strides: &strides };
            let (data, read_only) = (buffer.buf_ptr().cast(), buffer.readonly());
            let (rows, columns, step) =
                layout.rows().and_then(|rows| if indirect { Err(scattered()) } else { Ok(rows) })?;
            return Self { _owner: Owner::Buffer(buffer), data, format, read_only, rows, columns, step }.aligned();
        }
        let Some(tensor) = Tensor::shown_by(given)? else {
            return Err(InputError::new_err(format!(
                "logits are an array in memory of the host with the buffer protocol or DLPack (numpy, array, torch), not {}",
                type_name(given)
            )));
        };
        let format = Format::of_tensor(&tensor)?;
        let layout = Layout { expected, dimensions, shape: &tensor.shape, strides: &tensor.strides };
        let (rows, columns, step) = layout.rows()?;
        let (data, read_only) = (tensor.data, tensor.read_only);
        Self { _owner: Owner::Tensor(tensor), data, format, read_only, rows, columns, step }.aligned()
    }

    fn aligned(self) -> PyResult<Self> {
        let usable = self.rows * self.columns == 0 || self.data.addr().is_multiple_of(self.format.size());
        if usable { Ok(self) } else { Err(scattered()) }
    }

    fn check_writable(&self) -> PyResult<()> {
        match self.read_only {
            true => Err(InputError::new_err("process changes logits in place, and these are read-only")),
            false => Ok(()),
        }
    }

    fn pointer<T>(&self) -> *mut T {
        // Empty memory may have no address.
        if self.rows * self.columns == 0 { std::ptr::dangling_mut() } else { self.data.cast() }
    }

    /// The row.
    pub(crate) fn get(&self) -> Row<'_> {
        // SAFETY: `new` has checked format, alignment and contiguity of one row of `columns` elements, and the exporter keeps the
        // memory while `_owner` is held. That nobody writes to it meanwhile is the caller's part, as for every reader of the
        // buffer protocol.
        unsafe {
            match self.format {
                Format::Single => Row::Single(std::slice::from_raw_parts(self.pointer(), self.columns)),
                Format::Half => Row::Half(std::slice::from_raw_parts(self.pointer(), self.columns)),
                Format::Brain => Row::Brain(std::slice::from_raw_parts(self.pointer(), self.columns)),
            }
        }
    }

    /// The row, to be changed in place.
    pub(crate) fn get_mut(&mut self) -> PyResult<RowMut<'_>> {
        self.check_writable()?;
        // SAFETY: as `get`; and the memory is writable.
        unsafe {
            Ok(match self.format {
                Format::Single => RowMut::Single(std::slice::from_raw_parts_mut(self.pointer(), self.columns)),
                Format::Half => RowMut::Half(std::slice::from_raw_parts_mut(self.pointer(), self.columns)),
                Format::Brain => RowMut::Brain(std::slice::from_raw_parts_mut(self.pointer(), self.columns)),
            })
        }
    }

    /// All rows.
    pub(crate) fn view(&self) -> Rows<'_> {
        let shape = (self.rows, self.columns).strides((self.step, 1));
        // SAFETY: as `get`, for `rows` rows that `step >= columns` elements keep apart.
        unsafe {
            match self.format {
                Format::Single => Rows::Single(ArrayView2::from_shape_ptr(shape, self.pointer())),
                Format::Half => Rows::Half(ArrayView2::from_shape_ptr(shape, self.pointer())),
                Format::Brain => Rows::Brain(ArrayView2::from_shape_ptr(shape, self.pointer())),
            }
        }
    }

    /// All rows, to be changed in place.
    pub(crate) fn view_mut(&mut self) -> PyResult<RowsMut<'_>> {
        self.check_writable()?;
        let shape = (self.rows, self.columns).strides((self.step, 1));
        // SAFETY: as `view`; and the memory is writable.
        unsafe {
            Ok(match self.format {
                Format::Single => RowsMut::Single(ArrayViewMut2::from_shape_ptr(shape, self.pointer())),
                Format::Half => RowsMut::Half(ArrayViewMut2::from_shape_ptr(shape, self.pointer())),
                Format::Brain => RowsMut::Brain(ArrayViewMut2::from_shape_ptr(shape, self.pointer())),
            })
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }
}

/// Dimensions as they are given.
struct Layout<'a> {
    expected: &'a str,
    dimensions: usize,
    shape: &'a [usize],
    /// In elements.
    strides: &'a [isize],
}

impl Layout<'_> {
    /// Rows, columns, and elements from one row to the next.
    fn rows(&self) -> PyResult<(usize, usize, usize)> {
        let Self { expected, dimensions, shape, strides } = *self;
        if shape.len() != dimensions {
            return Err(InputError::new_err(format!("{expected}; this array has {}", shape.len())));
        }
        let (rows, columns, inner, outer) = match (shape, strides) {
            (&[columns], &[inner]) => (1, columns, inner, None),
            (&[rows, columns], &[outer, inner]) => (rows, columns, inner, usize::try_from(outer).ok()),
            _ => return Err(scattered()),
        };
        if rows == 0 || columns == 0 {
            return Ok((rows, columns, columns));
        }
        // One row may stand anywhere; several must not overlap.
        match outer.filter(|&step| step >= columns) {
            _ if inner != 1 && columns > 1 => Err(scattered()),
            Some(step) => Ok((rows, columns, step)),
            None if rows == 1 => Ok((rows, columns, columns)),
            None => Err(scattered()),
        }
    }
}

fn scattered() -> PyErr {
    InputError::new_err("the rows of logits are not contiguous in memory; pass a contiguous copy")
}

impl Format {
    fn size(self) -> usize {
        match self {
            Self::Single => size_of::<f32>(),
            Self::Half => size_of::<f16>(),
            Self::Brain => size_of::<bf16>(),
        }
    }

    fn of_buffer(buffer: &PyUntypedBuffer) -> PyResult<Self> {
        let format = buffer.format().to_bytes();
        let native = if cfg!(target_endian = "little") { b'<' } else { b'>' };
        let kind = match *format {
            [kind] => Some(kind),
            [order, kind] if [b'@', b'=', native].contains(&order) => Some(kind),
            _ => None,
        };
        match kind {
            Some(b'f') => Ok(Self::Single),
            Some(b'e') => Ok(Self::Half),
            _ => Err(InputError::new_err(format!(
                "logits are float32, float16 or bfloat16; this buffer holds elements of format {:?}",
                buffer.format().to_string_lossy()
            ))),
        }
    }

    fn of_tensor(tensor: &Tensor) -> PyResult<Self> {
        match (tensor.code, tensor.bits) {
            (2, 32) => Ok(Self::Single),
            (2, 16) => Ok(Self::Half),
            (4, 16) => Ok(Self::Brain),
            (code, bits) => Err(InputError::new_err(format!(
                "logits are float32, float16 or bfloat16; this tensor holds elements of {bits} bits, DLPack type {code}"
            ))),
        }
    }
}
