//! A clock that is wrong by as many seconds as a file says: a library that is loaded before libc into what a test
//! starts, and that answers for the time of day alone. The machine's own clock, and every clock that only measures,
//! stay as they are.

use std::ffi::{c_int, c_long};

/// The file, named when this is compiled.
const SECONDS: &str = env!("WRONG_CLOCK_SECONDS");

const CLOCK_REALTIME: c_int = 0;
const CLOCK_REALTIME_COARSE: c_int = 5;
#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const SYS_CLOCK_GETTIME: c_long = 113;

#[repr(C)]
pub struct Time {
    seconds: i64,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// # Safety
/// As for libc's: `to` is where a time can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, to: *mut Time) -> c_int {
    // SAFETY: the kernel checks what it is given, as libc's own function lets it.
    let answer = unsafe { syscall(SYS_CLOCK_GETTIME, clock, to) };
    if answer == 0 && matches!(clock, CLOCK_REALTIME | CLOCK_REALTIME_COARSE) {
        let wrong_by = std::fs::read_to_string(SECONDS).ok();
        let wrong_by: Option<i64> = wrong_by.and_then(|text| text.trim().parse().ok());
        // SAFETY: the kernel has just written there.
        unsafe { (*to).seconds += wrong_by.unwrap_or(0) };
    }
    answer as c_int
}
