//! What a caller hands in, checked as far as it can be: NULL, alignment, lengths, encodings, versions of structs.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use zeroize::Zeroizing;

use crate::status::{Failure, Result};

fn check<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(Failure::argument(format!("{name} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Failure::argument(format!("{name} is not aligned to {} bytes", align_of::<T>())));
    }
    Ok(())
}

pub(crate) unsafe fn shared<'a, T>(pointer: *const T, name: &str) -> Result<&'a T> {
    check(pointer, name)?;
    Ok(&*pointer)
}

pub(crate) unsafe fn exclusive<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T> {
    check(pointer, name)?;
    Ok(&mut *pointer)
}

/// `n` elements; NULL is allowed for none.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, n: usize, name: &str) -> Result<&'a [T]> {
    if n == 0 {
        return Ok(&[]);
    }
    check_length::<T>(n, name)?;
    check(pointer, name)?;
    Ok(std::slice::from_raw_parts(pointer, n))
}

/// As [`slice`], to write to.
pub(crate) unsafe fn slice_mut<'a, T>(pointer: *mut T, n: usize, name: &str) -> Result<&'a mut [T]> {
    if n == 0 {
        return Ok(&mut []);
    }
    check_length::<T>(n, name)?;
    check(pointer, name)?;
    Ok(std::slice::from_raw_parts_mut(pointer, n))
}

/// No object is larger than half the address space.
pub(crate) fn check_length<T>(n: usize, name: &str) -> Result<()> {
    match n.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::argument(format!("{name}: {n} elements exceed the address space"))),
    }
}

/// A row, whose length the profile says.
pub(crate) fn check_row(n: usize, vocab_size: usize) -> Result<()> {
    if n == vocab_size {
        return Ok(());
    }
    Err(Failure::argument(format!("a row of {n} for a vocabulary of {vocab_size}")))
}

/// `n` bytes of UTF-8.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, n: usize, name: &str) -> Result<&'a str> {
    // The message repeats nothing: it may be a key file.
    str::from_utf8(slice(pointer.cast::<u8>(), n, name)?).map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

/// A NUL-terminated string; NULL is none.
pub(crate) unsafe fn optional_string<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    let text = CStr::from_ptr(pointer).to_str();
    text.map(Some).map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

pub(crate) unsafe fn string<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    optional_string(pointer, name)?.ok_or_else(|| Failure::argument(format!("{name} is NULL")))
}

/// The 32 bytes of a key.
pub(crate) unsafe fn secret(pointer: *const u8, name: &str) -> Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(slice(pointer, 32, name)?);
    Ok(bytes)
}

/// A struct that begins with its own size and may grow at its end; zero in a new field means what there was before it.
///
/// # Safety
/// All bytes zero is a value, and so is every pattern of its fields' bytes.
pub(crate) unsafe trait Versioned: Copy {
    /// Its size in the first version of the interface.
    const FIRST: usize;
    const NAME: &'static str;
}

/// Reads a struct of this or another version of the header. A newer one is read if what this library does not know is zero.
pub(crate) unsafe fn read<T: Versioned>(pointer: *const T) -> Result<T> {
    let size = size_of_struct(pointer)?;
    let known = size.min(size_of::<T>());
    let rest = slice(pointer.cast::<u8>().add(known), size - known, T::NAME)?;
    if rest.iter().any(|&byte| byte != 0) {
        return Err(Failure::argument(format!(
            "{} sets fields that this version of the library does not have (struct_size {size}, known are {known})",
            T::NAME
        )));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast(), known);
    Ok(value.assume_init())
}

/// Writes as much of a struct as the caller's version has, zeros beyond what this one knows, and leaves struct_size.
pub(crate) unsafe fn write<T: Versioned>(pointer: *mut T, value: &T) -> Result<()> {
    let size = size_of_struct(pointer)?;
    let known = size.min(size_of::<T>());
    let to = pointer.cast::<u8>();
    std::ptr::copy_nonoverlapping(std::ptr::from_ref(value).cast::<u8>(), to, known);
    to.add(known).write_bytes(0, size - known);
    pointer.cast::<usize>().write(size);
    Ok(())
}

/// A later header's struct is not larger than this.
const LARGEST: usize = 4096;

unsafe fn size_of_struct<T: Versioned>(pointer: *const T) -> Result<usize> {
    check(pointer, T::NAME)?;
    let size = *pointer.cast::<usize>();
    // A size of any version is a multiple of the alignment; another one would cut a field in two.
    if !(T::FIRST..=LARGEST).contains(&size) || !size.is_multiple_of(align_of::<T>()) {
        return Err(Failure::argument(format!(
            "{}: struct_size is {size}; set it to sizeof, which is {}",
            T::NAME,
            size_of::<T>()
        )));
    }
    Ok(size)
}
