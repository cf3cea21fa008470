//! SIGTERM: the process ends in order. ProcessExit handlers run, the exit code is 128 + 15 unless one of them sets another.
//!
//! The signal handler only wakes a thread that waits for nothing else; managed code cannot run in a handler.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What the handler posts; null before [`install`].
static REQUEST: AtomicPtr<libc::sem_t> = AtomicPtr::new(std::ptr::null_mut());

/// Memory of the waiting thread's stack: it runs the handlers of ProcessExit.
const STACK_SIZE: usize = 1536 << 10;

/// Installs the handler, unless the process was started with SIGTERM ignored.
pub fn install() {
    // SAFETY: the present action is read; the semaphore is leaked, so it stays valid for the handler.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGTERM, std::ptr::null(), &mut present) != 0 || present.sa_sigaction != libc::SIG_DFL
        {
            return;
        }
        let request = Box::leak(Box::new(MaybeUninit::<libc::sem_t>::zeroed())).as_mut_ptr();
        if libc::sem_init(request, 0, 0) != 0 {
            return;
        }
        REQUEST.store(request, Ordering::Release);
    }
    let started = std::thread::Builder::new()
        .name(".NET SIGTERM".to_owned())
        .stack_size(STACK_SIZE)
        .spawn(wait);
    if started.is_err() {
        return;
    }
    // SAFETY: a valid sigaction whose handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_terminate as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGTERM, &action, std::ptr::null_mut());
    }
}

extern "C" fn on_terminate(_signal: libc::c_int) {
    // SAFETY: the calling thread's errno is kept; sem_post is async-signal-safe, and the semaphore is never freed.
    unsafe {
        let errno = *libc::__errno_location();
        libc::sem_post(REQUEST.load(Ordering::Acquire));
        *libc::__errno_location() = errno;
    }
}

fn wait() {
    // SAFETY: the semaphore is never freed.
    while unsafe { libc::sem_wait(REQUEST.load(Ordering::Acquire)) } != 0 {}
    let code = 128 + libc::SIGTERM;
    if crate::icalls::threading::attach_foreign_thread().is_err() {
        // SAFETY: no thread slot is free, so nothing managed can run any more.
        unsafe { libc::_exit(code) };
    }
    crate::qcalls::environment::exit_process(code)
}
