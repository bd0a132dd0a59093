//! DLPack, by which torch and others show memory that has no buffer protocol (`__dlpack__`; dmlc/dlpack, dlpack.h 1.0).

use std::ffi::{CStr, c_void};

use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyCapsule};

use crate::error::InputError;

const NAME: &CStr = c"dltensor";
const NAME_VERSIONED: &CStr = c"dltensor_versioned";

/// kDLCPU, kDLCUDAHost and kDLROCMHost: memory of the host.
const HOST: [i32; 3] = [1, 3, 11];

/// DLPACK_FLAG_BITMASK_READ_ONLY and DLPACK_FLAG_BITMASK_IS_COPIED: a change would not reach whoever shows the memory.
const READ_ONLY: u64 = 1 | 1 << 1;

#[repr(C)]
struct DLTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *const i64,
    /// Null for a compact row-major tensor.
    strides: *const i64,
    byte_offset: u64,
}

#[repr(C)]
struct DLManagedTensorVersioned {
    major: u32,
    minor: u32,
    manager_ctx: *mut c_void,
    deleter: *const c_void,
    flags: u64,
    dl_tensor: DLTensor,
}

/// A tensor in memory of the host.
pub(crate) struct Tensor {
    /// Keeps the memory: it is never renamed, so that dropping it calls the producer's deleter.
    _capsule: Py<PyCapsule>,
    pub(crate) data: *mut u8,
    pub(crate) shape: Vec<usize>,
    /// In elements.
    pub(crate) strides: Vec<isize>,
    /// kDLFloat is 2, kDLBfloat is 4.
    pub(crate) code: u8,
    pub(crate) bits: u8,
    pub(crate) read_only: bool,
}

impl Tensor {
    /// What `given` shows; `None` if it does not know DLPack.
    pub(crate) fn shown_by(given: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = given.py();
        let (Ok(device), Ok(show)) = (given.getattr("__dlpack_device__"), given.getattr("__dlpack__")) else {
            return Ok(None);
        };
        // An interrupt stays one.
        let refused = |error: PyErr| match error.is_instance_of::<PyException>(py) {
            true => InputError::new_err(format!("logits cannot be read through DLPack: {error}")),
            false => error,
        };
        // DLPack does not carry torch's bit that says so.
        if given.call_method0("is_neg").and_then(|negated| negated.is_truthy()).unwrap_or_default() {
            return Err(InputError::new_err(
                "logits are a tensor that torch has yet to negate; pass logits.resolve_neg()",
            ));
        }
        let (device, _): (i32, i32) = device.call0().and_then(|device| device.extract()).map_err(refused)?;
        if !HOST.contains(&device) {
            return Err(InputError::new_err(
                "logits are in memory of a device; move them to the host (.cpu()), or mark there with watermark_core.torch",
            ));
        }
        let versioned = [("max_version", (1, 0))].into_py_dict(py)?;
        let shown = show.call((), Some(&versioned)).or_else(|error| {
            // Producers from before DLPack 1.0 have no such argument.
            if error.is_instance_of::<PyTypeError>(py) { show.call0() } else { Err(error) }
        });
        let capsule = shown.map_err(refused)?.cast_into::<PyCapsule>().map_err(|error| refused(error.into()))?;
        if capsule.is_valid_checked(Some(NAME_VERSIONED)) {
            let managed = capsule.pointer_checked(Some(NAME_VERSIONED))?.cast::<DLManagedTensorVersioned>();
            // SAFETY: a capsule of this name holds such a structure while it lives.
            let managed = unsafe { managed.as_ref() };
            if managed.major != 1 {
                return Err(InputError::new_err(format!("logits are shown by DLPack {}; 1 is known", managed.major)));
            }
            // SAFETY: as above.
            return unsafe { Self::read(&managed.dl_tensor, managed.flags & READ_ONLY != 0, capsule.unbind()) }
                .map(Some);
        }
        let tensor = capsule.pointer_checked(Some(NAME)).map_err(refused)?.cast::<DLTensor>();
        // SAFETY: a capsule of this name holds a DLManagedTensor, whose first field this is, while it lives.
        unsafe { Self::read(tensor.as_ref(), false, capsule.unbind()) }.map(Some)
    }

    /// # Safety
    /// `tensor` must be what the producer of `capsule` has put there.
    unsafe fn read(tensor: &DLTensor, read_only: bool, capsule: Py<PyCapsule>) -> PyResult<Self> {
        let n = usize::try_from(tensor.ndim)?;
        // SAFETY: `shape` has `ndim` numbers, and `strides` as many or is null (dlpack.h).
        let numbers = |at: *const i64| match n {
            0 => &[][..],
            _ => unsafe { std::slice::from_raw_parts(at, n) },
        };
        let shape = numbers(tensor.shape).iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>()?;
        let strides = if tensor.strides.is_null() {
            let mut strides = vec![1; n];
            for at in (1..n).rev() {
                strides[at - 1] = strides[at] * isize::try_from(shape[at])?;
            }
            strides
        } else {
            numbers(tensor.strides).iter().map(|&step| isize::try_from(step)).collect::<Result<_, _>>()?
        };
        let vector = tensor.lanes != 1;
        Ok(Self {
            _capsule: capsule,
            data: tensor.data.cast::<u8>().wrapping_add(usize::try_from(tensor.byte_offset)?),
            shape,
            strides,
            code: if vector { u8::MAX } else { tensor.code },
            bits: tensor.bits,
            read_only,
        })
    }
}
